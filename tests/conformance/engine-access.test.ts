/** Engines behind TLS and keys as probes meet them: what is wrong is told by the setting that mends it. */
import { afterEach, describe, expect, it } from 'vitest';
import type { EndpointConfig, EngineTls } from '../../src/config/config.ts';
import { askGauges } from '../../src/engine/http-gauge-monitor.ts';
import { askAccess, askModels, probeHealth } from '../../src/engine/http-probe.ts';
import { createAuthority, expired } from '../support/certificates.ts';
import { type GuardedEngine, type GuardedOptions, startGuardedEngine } from '../support/guarded-engine.ts';

const authority = createAuthority();
const ca = { value: authority.ca, of: 'pool' } as const;
const good = authority.issue(['engine.test', '127.0.0.1']);

let engines: GuardedEngine[] = [];
afterEach(async () => {
  await Promise.all(engines.map((engine) => engine.close()));
  engines = [];
});

async function endpointOf(
  options: GuardedOptions,
  settings: Partial<EndpointConfig> = {},
): Promise<EndpointConfig> {
  const engine = await startGuardedEngine(options);
  engines.push(engine);
  return { url: '', host: '127.0.0.1', port: engine.port, pool: 'main', ...settings };
}
const probe = (endpoint: EndpointConfig) => probeHealth(endpoint, '/health', 2_000);

describe('an engine behind TLS', () => {
  it.each<[string, EngineTls]>([
    ['by its address', { ca }],
    ['by a name of its certificate', { ca, serverName: 'engine.test' }],
    ['by nothing at all', { insecureSkipVerify: true }],
  ])('is healthy: it is known %s', async (_, tls) => {
    expect(await probe(await endpointOf({ tls: good }, { tls }))).toMatchObject({ state: 'healthy' });
  });

  it.each<[string, GuardedOptions, EngineTls, string]>([
    ['an unknown authority', { tls: good }, {}, 'pools.main.tls.ca'],
    ['another authority', { tls: good }, { ca: { value: createAuthority('b').ca, of: 'pool' } }, 'tls.ca'],
    ['another name', { tls: good }, { ca, serverName: 'other.test' }, 'pools.main.tls.serverName'],
    ['no list of names', { tls: authority.issue([]) }, { ca }, 'pools.main.tls.serverName'],
    ['an old certificate', { tls: authority.issue(['127.0.0.1'], expired()) }, { ca }, 'has expired'],
    [
      'a client’s certificate that is missing',
      { tls: { ...good, clientCa: authority.ca } },
      { ca },
      'tls.cert',
    ],
    ['no TLS at all', {}, { ca }, 'http://'],
  ])('is dead, and told why: %s', async (_, engine, tls, expected) => {
    const result = await probe(await endpointOf(engine, { tls }));
    expect(result).toMatchObject({ state: 'dead', isExplained: true });
    expect(result.detail).toContain(expected);
  });

  it('is asked in TLS when it was asked in plain HTTP', async () => {
    const result = await probe(await endpointOf({ tls: good }));
    expect(result).toMatchObject({ state: 'dead', isExplained: true });
    expect(result.detail).toContain('write its URL as https://');
  });

  it('knows a client by a certificate of its authority, and refuses others', async () => {
    const clients = createAuthority('clients');
    const identity = (from: typeof clients) => {
      const { cert, key } = from.issue(['fairlane']);
      return { cert, value: key, of: 'pool' } as const;
    };
    const tls = { ...good, clientCa: clients.ca };
    expect(
      await probe(await endpointOf({ tls }, { tls: { ca, identity: identity(clients) } })),
    ).toMatchObject({
      state: 'healthy',
    });
    const foreign = await probe(await endpointOf({ tls }, { tls: { ca, identity: identity(authority) } }));
    expect(foreign.state).toBe('dead');
  });
});

describe('an engine with a key', () => {
  const key = { value: 'key-of-an-engine', of: 'pool' } as const;

  it('lets in who has it, at its prefix', async () => {
    const endpoint = await endpointOf(
      { key: key.value, prefix: '/llm', tls: good },
      { apiKey: key, prefix: '/llm', tls: { ca } },
    );
    expect(await probe(endpoint)).toMatchObject({ state: 'healthy' });
    expect(await askModels(endpoint, 2_000)).toEqual(['demo']);
    expect(await askAccess(endpoint, 2_000)).toBeUndefined();
  });

  it.each([
    ['none', undefined, 'it wants a key (pools.main.apiKey)'],
    [
      'another one',
      { value: 'another-key', of: 'pool' } as const,
      'it does not take the key of pools.main.apiKey',
    ],
  ])('tells who has %s, though its health says nothing', async (_, apiKey, expected) => {
    const endpoint = await endpointOf({ key: key.value }, apiKey === undefined ? {} : { apiKey });
    expect(await probe(endpoint)).toMatchObject({ state: 'healthy' });
    const refusal = await askAccess(endpoint, 2_000);
    expect(refusal).toMatchObject({ refusesAll: true });
    expect(refusal?.detail).toBe(`engine answered 401 to /v1/models: ${expected}`);
  });

  it('that is not there is asked nothing', async () => {
    const endpoint = await endpointOf({});
    await engines.pop()?.close();
    expect(await askAccess(endpoint, 2_000)).toBeUndefined();
    expect(await askGauges(endpoint, '/metrics', 'auto')).toMatchObject({ kind: 'unusable' });
  });
});
