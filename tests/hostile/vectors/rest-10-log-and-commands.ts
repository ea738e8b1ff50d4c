/** Row 10, what operators see and say: the log is safe to look at, and commands are no web page's. */
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { eventually } from '../../support/eventually.ts';
import { runCli } from '../../support/serve.ts';
import { asking, chat, type Group, type Tools, type Vector } from '../support/vectors.ts';
import { KEY, type World } from '../support/world.ts';
import { ask } from './rest-03-admin.ts';

/** Whatever does something to a terminal, or to who reads it. */
const ACTIVE =
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/u;
const LINES: readonly (readonly [string, string])[] = [
  ['U+009B', '\u009b31m'],
  ['U+202E', '\u202e'],
  ['U+2028', '\u2028'],
  ['U+2029', '\u2029'],
  ['U+0085', '\u0085'],
  ['ESC', '\u001b[2J'],
  ['BEL', '\u0007'],
  ['U+200F', '\u200f'],
  ['U+2066', '\u2066'],
  ['U+FEFF', '\ufeff'],
  ['a tag', '\u{e0041}'],
  ['a line feed', '\n{"level":"info","message":"request","tenant":"victim"}'],
];

/** The log after the request is in it. */
async function logAfter({ world, send }: Tools, body: object): Promise<string> {
  const before = world.log().length;
  await send({ body });
  await eventually(
    () => world.log().slice(before),
    (text) => text.includes('"message":"request"'),
    2_000,
  ).catch(() => '');
  return world.log().slice(before);
}

const logged = (name: string, body: object): Vector => ({
  name: `the log shows no ${name}`,
  async send(tools) {
    const text = await logAfter(tools, body);
    expect(ACTIVE.exec(text.replaceAll('\n', ''))?.[0].codePointAt(0)?.toString(16)).toBeUndefined();
    for (const line of text.split('\n').filter((one) => one.startsWith('{'))) {
      expect(JSON.parse(line)).not.toMatchObject({ tenant: 'victim' });
    }
    return [];
  },
  expect: {},
});

const log: readonly Vector[] = [
  ...LINES.map(([name, text]) => logged(`${name} of a field's name`, chat({ [`bootstrap_${text}`]: 1 }))),
  ...LINES.slice(0, 4).map(([name, text]) =>
    logged(`${name} of a model's name`, chat({ model: `demo${text}` })),
  ),
  ...LINES.slice(0, 4).map(([name, text]) =>
    logged(
      `${name} of a nested field's name`,
      chat({ chat_template_kwargs: { [`chat_template${text}`]: 1 } }),
    ),
  ),
  {
    name: 'the log has no key, prompt or answer',
    async send(tools) {
      const text = await logAfter(
        tools,
        asking('a-secret-of-the-prompt', { bootstrap_x: 1, user: 'a-secret-of-the-prompt' }),
      );
      expect(text).not.toContain('a-secret-of-the-prompt');
      const whole = tools.world.log();
      expect(Object.values(KEY).filter((key) => whole.includes(key))).toEqual([]);
      return [];
    },
    expect: {},
  },
];

const WEB = 'http://evil.example';
const COMMAND = { 'x-fairlane-command': 'drain', 'content-type': 'application/json' };
const drain = (world: World): string => `/drain?endpoint=${encodeURIComponent(world.engine.url('main'))}`;

const commands: readonly Vector[] = (
  [
    ['a foreign Origin', { ...COMMAND, origin: WEB }],
    ['a foreign Origin with a port', { ...COMMAND, origin: 'http://evil.example:9464' }],
    ['the Origin null', { ...COMMAND, origin: 'null' }],
    ['a foreign Origin that begins as ours', { ...COMMAND, origin: 'http://127.0.0.1.evil.example' }],
    ['another port of this machine as Origin', { ...COMMAND, origin: 'http://localhost:3000' }],
    ['a foreign Host', { ...COMMAND, host: 'evil.example' }],
    ['a foreign Host that begins as ours', { ...COMMAND, host: '127.0.0.1.evil.example' }],
    ['a foreign Host with a port', { ...COMMAND, host: 'evil.example:9464' }],
    ['no command header', {}],
    ['Sec-Fetch-Site: cross-site', { ...COMMAND, 'sec-fetch-site': 'cross-site', origin: WEB }],
  ] as const
).flatMap(([name, headers]) => [
  {
    name: `a drain with ${name} is refused`,
    async send({ world, send }: Tools) {
      const answer = await ask(world.metricsPort, 'POST', drain(world), headers);
      if (answer.status === 200) await ask(world.metricsPort, 'POST', `${drain(world)}&undo=on`, COMMAND);
      expect((await send({ body: chat() })).status).toBe(200);
      return answer;
    },
    expect: { status: [400, 403, 421] },
  },
  {
    name: `an explanation with ${name} is refused`,
    send: ({ world }: Tools) => ask(world.metricsPort, 'POST', '/explain', headers),
    expect: { status: [400, 403, 421] },
  },
]);

const open: readonly Vector[] = [
  ...['/metrics', '/health'].flatMap((path): readonly Vector[] => [
    {
      name: `${path} comes by any name`,
      send: ({ world }) => ask(world.metricsPort, 'GET', path, { host: 'fairlane.monitoring.svc' }),
      expect: { status: 200 },
    },
    {
      name: `${path} takes no POST`,
      send: ({ world }) => ask(world.metricsPort, 'POST', path),
      expect: { status: 405 },
    },
    {
      name: `${path} says no key`,
      send: ({ world }) => ask(world.metricsPort, 'GET', path),
      expect: {
        status: 200,
        answer: ({ body }) => expect(Object.values(KEY).filter((key) => body.includes(key))).toEqual([]),
      },
    },
  ]),
  {
    name: 'a drain by GET is none',
    send: ({ world }) => ask(world.metricsPort, 'GET', drain(world), COMMAND),
    expect: { status: [403, 404, 405] },
  },
  {
    name: 'a drain from this machine is taken',
    async send({ world }) {
      const answer = await ask(world.metricsPort, 'POST', drain(world), COMMAND);
      await ask(world.metricsPort, 'POST', `${drain(world)}&undo=on`, COMMAND);
      return answer;
    },
    expect: { status: 200 },
  },
];

/** A service that is started with a folder that others may change says so, and does not start. */
const directory = (name: string, prepare: (root: string) => string): Vector => ({
  name: `envoy.directory: ${name}`,
  async send({ world }) {
    const root = mkdtempSync(join(tmpdir(), 'fairlane-hostile-dir-'));
    const path = join(root, 'fairlane.yaml');
    const text = readFileSync(world.configPath, 'utf8');
    const wanted = prepare(root);
    writeFileSync(path, text.replaceAll(world.directory, wanted).replaceAll(String(world.metricsPort), '1'));
    const cli = runCli(['serve', '--config', path]);
    const ended = await Promise.race([
      cli.exited,
      cli.until('serving ext_proc', 15_000).then(
        () => 'serves' as const,
        () => cli.exited,
      ),
    ]);
    cli.child.kill('SIGKILL');
    await cli.exited;
    rmSync(root, { recursive: true, force: true });
    expect(ended).not.toBe('serves');
    expect(ended).not.toBe(0);
    expect(cli.stderr()).toMatch(/envoy\.directory|directory/);
    return [];
  },
  expect: {},
});

const directories: readonly Vector[] = [
  directory('a symlink', (root) => {
    mkdirSync(join(root, 'real'), { mode: 0o700 });
    symlinkSync(join(root, 'real'), join(root, 'link'));
    return join(root, 'link');
  }),
  directory('writable by the group', (root) => {
    const path = join(root, 'shared');
    mkdirSync(path);
    chmodSync(path, 0o770);
    return path;
  }),
  directory('writable by everybody', (root) => {
    const path = join(root, 'public');
    mkdirSync(path);
    chmodSync(path, 0o777);
    return path;
  }),
];

export const REST_10_LOG: Group = {
  name: 'rest 10: log, commands, files',
  vectors: [...log, ...commands, ...open, ...directories],
};

/** Row 9: the floor of Node.js. */
const numbersOf = (version: string): readonly number[] => version.split('.').map(Number);
/** Below zero: the first is older. */
function compared(one: readonly number[], other: readonly number[]): number {
  const at = one.findIndex((number, i) => number !== other[i]);
  return at < 0 ? 0 : (one[at] ?? 0) - (other[at] ?? 0);
}
/** Ranges as `^20.20.2 || >=26.0.0` have them. */
const isIn = (version: string, range: string): boolean =>
  range.split('||').some((part) => {
    const [, sign, floor = ''] = /^\s*(\^|>=)\s*(\d+\.\d+\.\d+)\s*$/.exec(part) ?? [];
    if (sign === undefined) return true;
    const [own, least] = [numbersOf(version), numbersOf(floor)];
    return compared(own, least) >= 0 && (sign === '>=' || own[0] === least[0]);
  });

const floor = (version: string, isGood: boolean): Vector => ({
  name: `package.json ${isGood ? 'takes' : 'does not take'} Node.js ${version}${isGood ? '' : ', whose hashes of strings can be guessed'}`,
  send: async () => {
    const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
    const { engines } = JSON.parse(text) as { engines: { node: string } };
    expect(isIn(version, engines.node)).toBe(isGood);
    return [];
  },
  expect: {},
});

export const REST_9: Group = {
  name: 'rest 9: floor of Node.js',
  vectors: [
    ...['20.19.5', '20.20.0', '22.0.0', '22.20.0', '24.0.0'].map((version) => floor(version, false)),
    floor(process.versions.node, true),
  ],
};
