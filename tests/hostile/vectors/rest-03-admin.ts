/** Row 3: Envoy's admin page shows, and changes nothing. */
import { expect } from 'vitest';
import { type Answer, NO_ANSWER, openH1 } from '../support/h1.ts';
import { chat, type Group, type Vector } from '../support/vectors.ts';
import { KEY, type World } from '../support/world.ts';

const WEB_PAGE = 'http://evil.example';

export async function ask(
  port: number,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const connection = await openH1({ port });
  const all = { host: `127.0.0.1:${port}`, 'content-length': '0', ...headers };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  await connection.write(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`);
  const [answer = NO_ANSWER] = await connection.until(1, 3_000);
  connection.close();
  return answer;
}

/** It lives as it did: whoever has changed it is found out. */
async function stillServes(world: World, send: (request: object) => Promise<Answer>): Promise<void> {
  const { status } = await send({ body: chat() }).catch(() => NO_ANSWER);
  if (status !== 200) await world.restartEnvoy('open');
  expect(status, 'requests are served afterwards').toBe(200);
}

const READ = [
  '/stats',
  '/stats?filter=ext_proc',
  '/stats?format=json',
  '/stats/prometheus',
  '/clusters',
  '/clusters?format=json',
  '/listeners',
  '/listeners?format=json',
  '/server_info',
  '/config_dump',
  '/ready',
];
const CHANGE = [
  '/logging?level=trace',
  '/logging?paths=http:trace',
  '/logging',
  '/reset_counters',
  '/drain_listeners',
  '/drain_listeners?graceful',
  '/drain_listeners?inboundonly',
  '/healthcheck/fail',
  '/healthcheck/ok',
  '/runtime_modify?envoy.reloadable_features.x=true',
  '/cpuprofiler?enable=y',
  '/heapprofiler?enable=y',
  '/heap_dump',
  '/allocprofiler?enable=n',
  '/contention',
  '/reopen_logs',
  '/stats/recentlookups/enable',
  '/stats/recentlookups/clear',
  '/stats/recentlookups/disable',
  '/tap',
  '/quitquitquit',
];
/** Spellings under which a list of paths may be passed. */
const SPELLINGS = [
  '//quitquitquit',
  '/stats/../quitquitquit',
  '/stats/%2e%2e/quitquitquit',
  '/%71uitquitquit',
  '/QuitQuitQuit',
  '/stats?/quitquitquit',
  '/ready/../quitquitquit',
  '/quitquitquit?x=/stats',
  '/quitquitquit/',
  '/logging/?level=trace',
];

const shows = (path: string): Vector => ({
  name: `GET ${path} shows`,
  send: ({ world }) => ask(world.adminPort.open, 'GET', path),
  expect: { status: 200, answer: ({ body }) => expect(body.length).toBeGreaterThan(0) },
});

const changes = (
  method: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  note = '',
): Vector => ({
  name: `${method} ${path} changes nothing${note}`,
  async send({ world, send }) {
    const answer = await ask(world.adminPort.open, method, path, headers);
    if (path.includes('quit')) await new Promise((resolve) => setTimeout(resolve, 50));
    await stillServes(world, (request) => send(request));
    return answer;
  },
  expect: { status: 403 },
});

const harmless = (method: string, path: string): Vector => ({
  name: `${method} ${path}, spelled so, changes nothing`,
  async send({ world, send }) {
    const answer = await ask(world.adminPort.open, method, path);
    await stillServes(world, (request) => send(request));
    return answer;
  },
  expect: { status: (status) => status !== 200 || path.startsWith('/stats?') },
});

export const REST_3: Group = {
  name: 'rest 3: admin',
  vectors: [
    ...READ.map(shows),
    ...CHANGE.map((path) => changes('POST', path)),
    ...[
      '/logging?level=trace',
      '/quitquitquit',
      '/reset_counters',
      '/drain_listeners',
      '/healthcheck/fail',
      '/cpuprofiler?enable=y',
      '/heapprofiler?enable=y',
      '/reopen_logs',
      '/runtime_modify?x=y',
      '/tap',
    ].map((path) => changes('GET', path)),
    ...['/logging?level=trace', '/quitquitquit', '/reset_counters', '/drain_listeners'].flatMap((path) => [
      changes('POST', path, { origin: WEB_PAGE, 'content-type': 'text/plain' }, ', asked by a web page'),
      changes(
        'POST',
        path,
        { host: 'evil.example', origin: WEB_PAGE },
        ', asked by a name that was bound anew',
      ),
    ]),
    ...SPELLINGS.map((path) => harmless('POST', path)),
    {
      name: 'a foreign Host is refused, or sees what is no secret',
      send: ({ world }) => ask(world.adminPort.open, 'GET', '/stats', { host: 'evil.example' }),
      expect: { status: [200, 400, 403, 421] },
    },
    {
      name: 'no key is in anything that it shows',
      async send({ world }) {
        for (const path of READ.concat('/config_dump?include_eds', '/certs', '/init_dump')) {
          const text = (await ask(world.adminPort.open, 'GET', path)).body.toString('utf8');
          const keys = Object.values(KEY).filter((key) => text.includes(key));
          expect({ path, keys }).toEqual({ path, keys: [] });
        }
        return [];
      },
      expect: {},
    },
    {
      name: 'the level of the log is what it was',
      async send({ world }) {
        await ask(world.adminPort.open, 'POST', '/logging?level=trace', { origin: WEB_PAGE });
        const { body } = await ask(world.adminPort.open, 'POST', '/logging');
        expect(body.toString('utf8')).not.toMatch(/: trace$/m);
        return [];
      },
      expect: {},
      modes: ['closed'],
    },
    {
      name: 'what is no page is not served',
      send: ({ world }) => ask(world.adminPort.open, 'GET', '/not-a-page'),
      expect: { status: (status) => status === 403 || status === 404 },
    },
  ],
};
