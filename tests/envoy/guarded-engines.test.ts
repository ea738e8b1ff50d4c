/** Engines with keys, TLS, prefixes and weights: what reaches each of them, and what nobody else gets to see. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/fs-config.ts';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { type Authority, createAuthority, expired } from '../support/certificates.ts';
import { chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { type GuardedEngine, type GuardedOptions, startGuardedEngine } from '../support/guarded-engine.ts';
import { type Draft, KEYS, type Stack, startStack } from '../support/stack.ts';

const KEY_A = 'key-of-engine-a';
const KEY_B = 'key-of-engine-b';
const CLIENT = {
  'x-api-key': 'foreign',
  'api-key': 'foreign',
  cookie: 'foreign',
  'proxy-authorization': 'Basic eA==',
};

let folder: string;
let engines: GuardedEngine[] = [];
const simulators: Simulator[] = [];
let stack: Stack | undefined;
let authority: Authority;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fairlane-guarded-'));
  authority = createAuthority();
});
afterEach(async () => {
  await stack?.close();
  stack = undefined;
  await Promise.all([...engines.splice(0), ...simulators.splice(0)].map((one) => one.close()));
  rmSync(folder, { recursive: true, force: true });
});

const file = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
};
const engine = async (options?: GuardedOptions): Promise<GuardedEngine> => {
  const started = await startGuardedEngine(options);
  engines.push(started);
  return started;
};
/** @param pool its settings beside the usual ones. */
const start = async (pool: Draft, change: (config: Draft) => void = () => undefined): Promise<Stack> => {
  stack = await startStack({
    engines: [],
    change(config) {
      Object.assign(config['pools']['main'], pool);
      change(config);
    },
  });
  return stack;
};
const ask = (fields: object = {}, headers: Readonly<Record<string, string>> = {}) =>
  send(stack?.url ?? '', { key: KEYS.quiet, body: chatBody(fields), headers });
const healthy = (count: number) =>
  eventually(
    async () => (await stack?.metric('fairlane_endpoint_healthy')) ?? 0,
    (sum) => sum === count,
  );
const dump = async (): Promise<string> => (await fetch(`${stack?.adminUrl}/config_dump?include_eds`)).text();
/** Writes the file again, and waits until the service has taken it. */
async function reload(change: (text: string) => string): Promise<void> {
  const path = stack?.configPath ?? '';
  writeFileSync(path, change(readFileSync(path, 'utf8')));
  const loaded = loadConfig(path, process.env);
  if (loaded.kind === 'bad') throw new Error(loaded.problems.join('\n'));
  await stack?.service().reload(loaded.config, loaded.warnings);
}

describe('two engines with different keys and prefixes', () => {
  let a: GuardedEngine;
  let b: GuardedEngine;
  beforeEach(async () => {
    a = await engine({ key: KEY_A, prefix: '/llm' });
    b = await engine({ key: KEY_B });
    await start({
      endpoints: [
        { url: `http://127.0.0.1:${a.port}/llm/v1`, apiKey: `file:${file('a', KEY_A)}` },
        `http://127.0.0.1:${b.port}/v1`,
      ],
      apiKey: `file:${file('b', KEY_B)}`,
      health: { interval: '10s' },
    });
    await healthy(2);
  });

  it.each(['die', 'die-in-headers', 'unavailable'] as const)(
    'see each its own alone, while the other does this: %s',
    async (fault) => {
      a.does(fault);
      for (let i = 0; i < 6; i += 1) expect((await ask({}, CLIENT)).status).toBe(200);
      a.does('answer');
      b.does(fault);
      for (let i = 0; i < 6; i += 1) expect((await ask({}, CLIENT)).status).toBe(200);
      expect(a.requests().length).toBeGreaterThan(0);
      expect(b.requests().length).toBeGreaterThan(0);
      for (const { path, headers } of a.requests()) {
        expect(path).toBe('/llm/v1/chat/completions');
        expect(headers).toMatchObject({ authorization: `Bearer ${KEY_A}`, host: `127.0.0.1:${a.port}` });
        expect(Object.keys(headers).filter((name) => name in CLIENT)).toEqual([]);
      }
      for (const { path, headers } of b.requests()) {
        expect(path).toBe('/v1/chat/completions');
        expect(headers).toMatchObject({
          authorization: `Bearer ${KEY_B}`,
          host: new URL(stack?.url ?? '').host,
        });
        expect(
          Object.keys(headers).filter((name) => name.startsWith('x-fairlane') || name in CLIENT),
        ).toEqual([]);
      }
    },
  );

  it('show their keys to no tenant, no log, no metric and no dump', async () => {
    a.does('echo');
    b.does('echo');
    for (let i = 0; i < 4; i += 1) {
      const { headers, text } = await ask();
      expect(JSON.stringify([headers, text])).not.toContain('key-of-engine');
    }
    const pages = await Promise.all(
      ['/config_dump?include_eds', '/clusters', '/clusters?format=json', '/stats', '/certs'].map(
        async (path) => (await fetch(`${stack?.adminUrl}${path}`)).text(),
      ),
    );
    const ours = await Promise.all(
      ['/metrics', '/health'].map(async (path) => (await fetch(`${stack?.metricsUrl}${path}`)).text()),
    );
    for (const text of [...pages, ...ours, stack?.logText() ?? '']) {
      expect(text).not.toContain('key-of-engine');
      expect(text).not.toContain(Buffer.from('key-of-engine').toString('base64').slice(0, 16));
    }
    expect(pages[0]).toContain('[redacted]');
  });

  it('get them while the service is away, and nothing of the client’s', async () => {
    await stack?.service().drain();
    // Envoy alone takes either at random.
    for (let i = 0; i < 40; i += 1) expect((await ask({}, CLIENT)).status).toBe(200);
    const all = [...a.requests(), ...b.requests()];
    expect(new Set(all.map(({ headers }) => headers['authorization']))).toEqual(
      new Set([`Bearer ${KEY_A}`, `Bearer ${KEY_B}`]),
    );
    expect(JSON.stringify(all)).not.toContain('foreign');
    expect(JSON.stringify(all)).not.toContain(KEYS.quiet);
    await stack?.restartService();
  });

  it('are probed with them', () => {
    const probes = (one: GuardedEngine, path: string) => one.seen().filter((seen) => seen.path === path);
    expect(probes(a, '/llm/health').length).toBeGreaterThan(0);
    expect(probes(a, '/llm/metrics').length).toBeGreaterThan(0);
    expect(probes(a, '/llm/v1/models')[0]?.headers['authorization']).toBe(`Bearer ${KEY_A}`);
    expect(probes(b, '/v1/models')[0]?.headers['authorization']).toBe(`Bearer ${KEY_B}`);
    expect(a.seen().every(({ path }) => path.startsWith('/llm/'))).toBe(true);
  });

  it('have their tenants refused in the API’s shape when both broke, whatever the prefix', async () => {
    a.does('die');
    b.does('die');
    const anthropic = await send(stack?.url ?? '', {
      key: KEYS.quiet,
      path: '/v1/messages',
      body: chatBody(),
    });
    expect(anthropic.json).toMatchObject({ type: 'error' });
  });
});

describe('a key that changes', () => {
  it('reaches its engine by a reload, and no stream is cut', async () => {
    const a = await engine({ key: KEY_A, streamMs: 1_500 });
    const path = file('a', KEY_A);
    await start({ endpoints: [`http://127.0.0.1:${a.port}`], apiKey: `file:${path}` });
    await healthy(1);
    const streaming = ask({ stream: true });
    await eventually(
      () => a.requests().length,
      (count) => count === 1,
    );
    file('a', 'another-key-of-a');
    a.wants('another-key-of-a');
    await reload((text) => text);
    await eventually(
      async () => (await ask()).status,
      (status) => status === 200,
    );
    expect(a.requests().at(-1)?.headers['authorization']).toBe('Bearer another-key-of-a');
    expect((await streaming).text).toContain('[DONE]');
    await healthy(1);
    expect(await dump()).not.toContain('another-key');
  });

  it('is given to a pool that had none, and taken away again, without a request lost', async () => {
    const a = await engine();
    await start({ endpoints: [`http://127.0.0.1:${a.port}`] });
    await healthy(1);
    const statuses: number[] = [];
    let stopped = false;
    const client = (async () => {
      while (!stopped) statuses.push((await ask()).status);
    })();
    const more = async () => {
      const count = statuses.length;
      await eventually(
        () => statuses.length,
        (now) => now > count + 5,
      );
    };
    await more();
    const key = file('a', KEY_A);
    const endpoint = `- http://127.0.0.1:${a.port}`;
    await reload((text) =>
      text.replace(endpoint, `- { url: "http://127.0.0.1:${a.port}", apiKey: "file:${key}" }`),
    );
    await eventually(
      () => a.requests().at(-1)?.headers['authorization'],
      (value) => value !== undefined,
    );
    await more();
    await reload((text) => text.replace(/- \{ url.*\}/, endpoint));
    await eventually(
      () => a.requests().at(-1)?.headers['authorization'],
      (value) => value === undefined,
    );
    await more();
    stopped = true;
    await client;
    expect(statuses.filter((status) => status !== 200)).toEqual([]);
  });
});

describe('an engine behind TLS', () => {
  const names = ['engine.test', '127.0.0.1'];

  it('of a private authority, with a client’s certificate, a name, a prefix and a key, is served whole', async () => {
    const clients = createAuthority('clients');
    const client = clients.issue(['fairlane']);
    const a = await engine({
      key: KEY_A,
      prefix: '/llm',
      tls: { ...authority.issue(['engine.test']), clientCa: clients.ca },
    });
    await start({
      endpoints: [`https://127.0.0.1:${a.port}/llm/v1`],
      apiKey: `file:${file('a', KEY_A)}`,
      tls: {
        ca: file('ca.pem', authority.ca),
        cert: file('client.pem', client.cert),
        key: file('client.key', client.key),
        serverName: 'engine.test',
      },
    });
    await healthy(1);
    expect((await ask()).status).toBe(200);
    const [request] = a.requests();
    expect(request).toMatchObject({
      path: '/llm/v1/chat/completions',
      servername: 'engine.test',
      headers: { authorization: `Bearer ${KEY_A}`, host: `127.0.0.1:${a.port}` },
    });
    expect(a.seen().every(({ servername }) => servername === 'engine.test')).toBe(true);
    expect(await dump()).not.toContain(client.key.split('\n')[1]);
    expect(stack?.logText()).not.toContain('PRIVATE KEY');
  });

  it.each([
    ['an unknown authority', { tls: {} }, 'pools.main.tls.ca'],
    ['another name', { tls: { serverName: 'other.test' } }, 'pools.main.tls.serverName'],
  ] as const)(
    'that shows a certificate of %s is told of, and gets neither key nor prompt',
    async (_, pool, said) => {
      const a = await engine({ key: KEY_A, tls: authority.issue(names) });
      const tls = 'serverName' in pool.tls ? { ...pool.tls, ca: file('ca.pem', authority.ca) } : pool.tls;
      await start({
        endpoints: [`https://127.0.0.1:${a.port}`],
        apiKey: `file:${file('a', KEY_A)}`,
        tls,
      });
      await eventually(
        () => stack?.logText().includes(said),
        (told) => told === true,
      );
      await stack?.service().drain();
      const { status } = await ask();
      expect(status).toBe(503);
      expect(a.seen()).toEqual([]);
      await stack?.restartService();
    },
  );

  it('that is another one beside it has its own authority and name, and each retry goes by them', async () => {
    const second = createAuthority('second');
    const a = await engine({ tls: authority.issue(['a.test']) });
    const b = await engine({ tls: second.issue(['b.test']), key: KEY_B });
    const c = await engine();
    await start({
      endpoints: [
        {
          url: `https://127.0.0.1:${a.port}`,
          tls: { ca: file('a.pem', authority.ca), serverName: 'a.test' },
        },
        {
          url: `https://127.0.0.1:${b.port}`,
          apiKey: `file:${file('b', KEY_B)}`,
          tls: { ca: file('b.pem', second.ca), serverName: 'b.test' },
        },
        `http://127.0.0.1:${c.port}`,
      ],
      health: { interval: '10s' },
    });
    await healthy(3);
    for (const dying of [a, b, c]) {
      dying.does('die');
      for (let i = 0; i < 4; i += 1) expect((await ask()).status).toBe(200);
      dying.does('answer');
    }
    expect(new Set(b.requests().map(({ headers }) => headers['authorization']))).toEqual(
      new Set([`Bearer ${KEY_B}`]),
    );
    for (const one of [a, c]) {
      expect(one.requests().length).toBeGreaterThan(0);
      expect(one.requests().some(({ headers }) => headers['authorization'] !== undefined)).toBe(false);
    }
  });

  it('whose authority changes is reached by the new one after a reload', async () => {
    const next = createAuthority('next');
    const a = await engine({ tls: authority.issue(names) });
    await start({ endpoints: [`https://127.0.0.1:${a.port}`], tls: { ca: file('ca.pem', authority.ca) } });
    await healthy(1);
    expect((await ask()).status).toBe(200);
    a.shows(next.issue(names));
    file('ca.pem', next.ca);
    await reload((text) => text);
    await healthy(1);
    await eventually(
      async () => (await ask()).status,
      (status) => status === 200,
    );
    const before = loadConfig(stack?.configPath ?? '', process.env);
    file('ca.pem', 'no certificate');
    const bad = loadConfig(stack?.configPath ?? '', process.env);
    expect(before.kind).toBe('ok');
    expect(bad.kind).toBe('bad');
    expect((await ask()).status).toBe(200);
  });

  it('is taken as it comes with insecureSkipVerify, which is warned of', async () => {
    const a = await engine({ tls: createAuthority('nobody').issue(['x.test'], expired()) });
    await start({ endpoints: [`https://127.0.0.1:${a.port}`], tls: { insecureSkipVerify: true } });
    await healthy(1);
    expect((await ask()).status).toBe(200);
    const loaded = loadConfig(stack?.configPath ?? '', process.env);
    expect(loaded.kind === 'ok' && loaded.warnings.join()).toContain('insecureSkipVerify');
  });
});

describe('copies for another pool', () => {
  it('have that pool’s key, TLS and prefix, and nothing of the first one’s', async () => {
    const a = await engine({ key: KEY_A, prefix: '/a' });
    // Copies go where gauges say that there is room.
    const b = await startSimulator({
      profile: parseProfile('test', {}),
      models: ['demo'],
      faults: true,
      apiKey: KEY_B,
      prefix: '/b',
      tls: authority.issue(['127.0.0.1']),
    });
    simulators.push(b);
    await start(
      { endpoints: [`http://127.0.0.1:${a.port}/a`], apiKey: `file:${file('a', KEY_A)}` },
      (config) => {
        config['pools']['next'] = {
          endpoints: [b.url],
          apiKey: `file:${file('b', KEY_B)}`,
          tls: { ca: file('ca.pem', authority.ca) },
          concurrencyLimit: 8,
          health: { interval: '200ms' },
        };
        config['models']['demo']['mirror'] = { pool: 'next', percent: 100 };
      },
    );
    await healthy(2);
    await eventually(
      async () => {
        await ask();
        return b.requests().length;
      },
      (count) => count > 0,
    );
    for (const { path, headers } of a.requests()) {
      expect(path).toBe('/a/v1/chat/completions');
      expect(headers['authorization']).toBe(`Bearer ${KEY_A}`);
    }
    // The simulator answers nothing that comes without its prefix.
    for (const { path, headers } of b.requests()) {
      expect(path).toBe('/v1/chat/completions');
      expect(headers['authorization']).toBe(`Bearer ${KEY_B}`);
    }
  });
});

describe('an engine that wants a key that is not there', () => {
  it('is told of by the setting that is missing, and serves as soon as it lets in', async () => {
    const a = await engine({ key: KEY_A });
    await start({ endpoints: [`http://127.0.0.1:${a.port}`] });
    const said = 'engine answered 401 to /v1/models: it wants a key (pools.main.apiKey)';
    await eventually(
      () => stack?.logText().includes(said),
      (told) => told === true,
    );
    expect(await (await fetch(`${stack?.metricsUrl}/health`)).text()).toContain(said);
    expect(stack?.service().unserved().join()).toContain(said);
    expect((await ask()).status).toBe(503);
    a.wants(undefined);
    await healthy(1);
    expect((await ask()).status).toBe(200);
  });
});
