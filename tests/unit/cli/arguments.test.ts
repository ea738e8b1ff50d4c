import { type Command, InvalidArgumentError } from 'commander';
import { describe, expect, it } from 'vitest';
import { portArgument, textArgument, threadsArgument } from '../../../src/cli/arguments.ts';
import { checkConfigCommand } from '../../../src/cli/check-config.ts';
import { doctorCommand } from '../../../src/cli/doctor.ts';
import { drainCommand } from '../../../src/cli/drain.ts';
import { envoyConfigCommand } from '../../../src/cli/envoy-config.ts';
import { explainCommand } from '../../../src/cli/explain.ts';
import { serveCommand } from '../../../src/cli/serve.ts';
import { simulateCommand } from '../../../src/cli/simulate.ts';
import { startCommand } from '../../../src/cli/start.ts';

const WRONG = [
  'abc',
  '-1',
  '1.5',
  '',
  ' ',
  '1e3',
  '0x10',
  '1_000',
  '+1',
  'NaN',
  'Infinity',
  '9'.repeat(40),
  '٣',
];

describe('a number after an option', () => {
  it.each([...WRONG, '0', '1025'])('is no count of threads: %j', (text) => {
    expect(() => threadsArgument(text)).toThrow(InvalidArgumentError);
    expect(() => threadsArgument(text)).toThrow(/whole number from 1 to 1024.*one per core.*0 for 1/);
  });

  it.each(WRONG)('is no port: %j', (text) => {
    expect(() => portArgument(text)).toThrow('a port is a whole number from 0 to 65535');
  });

  it('is taken where it is one', () => {
    expect(['1', '8', '1024'].map(threadsArgument)).toEqual([1, 8, 1024]);
    expect(['0', '8000', '65535'].map(portArgument)).toEqual([0, 8000, 65_535]);
  });

  it.each([
    ['--port', '-1'],
    ['--port', ''],
    ['--port', '65536'],
    ['--adapters', '1.5'],
    ['--adapter-load', 'soon'],
    ['--set', 'stepBaseMs='],
    ['--set', '=1'],
    ['--set', 'stepBaseMs'],
    ['--host', ''],
  ])('is refused by the simulator: %s %j', (option, text) => {
    const command = simulateCommand()
      .exitOverride()
      .configureOutput({ writeErr: () => undefined })
      .action(() => undefined);
    expect(() => command.parse([option, text], { from: 'user' })).toThrow(/invalid|argument/i);
  });

  it('is no word either: a tenant needs a name', () => {
    expect(() => textArgument(' ')).toThrow('it is empty');
    expect(textArgument('acme')).toBe('acme');
  });
});

describe('the configuration', () => {
  it.each([
    startCommand,
    serveCommand,
    checkConfigCommand,
    doctorCommand,
    drainCommand,
    explainCommand,
    envoyConfigCommand,
  ])('is given by one option, with one default: %o', (make: () => Command) => {
    const option = make().options.find(({ long }) => long === '--config');
    expect([option?.short, option?.defaultValue, option?.mandatory]).toEqual(['-c', 'fairlane.yaml', false]);
  });
});
