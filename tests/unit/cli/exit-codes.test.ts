import { expect, it } from 'vitest';
import { exitCodesText } from '../../../src/cli/exit-codes.ts';

it.each([
  'start',
  'serve',
  'simulate',
  'check-config',
  'bench',
  'load',
  'doctor',
  'drain',
  'explain',
  'check',
])('the help of %s says what 0 and 1 mean', (command) => {
  expect(exitCodesText(command)).toMatch(/^\nExit codes: 0 .+; 1 .+\.$/);
});

it('only explain has a code for what would be refused', () => {
  expect(exitCodesText('explain')).toContain('2 if the service would refuse it');
  expect(exitCodesText('drain')).not.toContain('2 if');
});
