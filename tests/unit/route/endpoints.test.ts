import { describe, expect, it } from 'vitest';
import { fixedWindow } from '../../../src/queue/window.ts';
import {
  type Claim,
  createPoolEndpoints,
  type Demand,
  type PoolEndpoints,
  type Slot,
  type WindowConfig,
} from '../../../src/route/endpoints.ts';

const at = (n: number) => ({ url: `http://e${n}:8000`, address: `10.0.0.${n}:8000` });

const config = (window: number): WindowConfig => ({ window, prefillTokens: 1_000, reserve: 'auto' });
const acquire = (
  endpoints: PoolEndpoints,
  demand: Partial<Demand> = {},
  claim: Partial<Claim> = {},
  nowMs = 0,
): Slot | undefined =>
  endpoints.acquire(
    { sequences: 1, promptTokens: 10, totalTokens: 20, streamed: true, ...demand },
    { quiet: false, reserve: 0, tenant: 'a', ...claim },
    nowMs,
  );

describe("a pool's endpoints", () => {
  it('are not in the rotation until they are known to be healthy', () => {
    const endpoints = createPoolEndpoints(fixedWindow);
    endpoints.reconfigure([at(1)], config(4));
    expect(acquire(endpoints)).toBeUndefined();
    endpoints.setHealthy(at(1).url, true, 0);
    expect(acquire(endpoints)?.address).toBe('10.0.0.1:8000');
    expect(endpoints.window(0)).toBe(4);
  });
  it('move the slot to where Envoy served the request, and free it there', () => {
    const endpoints = createPoolEndpoints(fixedWindow);
    endpoints.reconfigure([at(1), at(2)], config(4));
    endpoints.setHealthy(at(1).url, true, 0);
    endpoints.setHealthy(at(2).url, true, 0);
    const slot = acquire(endpoints);
    slot?.moveTo('10.0.0.2:8000');
    slot?.moveTo('10.9.9.9:1');
    expect(endpoints.list(0).map(({ inFlight }) => inFlight)).toEqual([0, 1]);
    slot?.free(0);
    slot?.moveTo('10.0.0.1:8000');
    slot?.free(0);
    expect(endpoints.list(0).map(({ inFlight }) => inFlight)).toEqual([0, 0]);
    expect(endpoints.inFlight()).toBe(0);
  });
  it('keep the state of those that stay over a reconfiguration, and count what a removed one still serves', () => {
    const endpoints = createPoolEndpoints(fixedWindow);
    endpoints.reconfigure([at(1), at(2)], config(1));
    endpoints.setHealthy(at(1).url, true, 0);
    const slot = acquire(endpoints);
    endpoints.reconfigure([{ url: at(2).url, address: '10.0.0.22:8000' }, at(3)], config(1));
    expect(endpoints.inFlight()).toBe(1);
    slot?.free(0);
    expect(endpoints.inFlight()).toBe(0);
    endpoints.setHealthy(at(2).url, true, 0);
    expect(acquire(endpoints)?.address).toBe('10.0.0.22:8000');
  });

  const healthy = (window: number): PoolEndpoints => {
    const endpoints = createPoolEndpoints(fixedWindow);
    endpoints.reconfigure([at(1)], config(window));
    endpoints.setHealthy(at(1).url, true, 0);
    return endpoints;
  };

  it('hold no more tokens than the KV cache has room for, and keep a tenth for quiet tenants', () => {
    const endpoints = healthy(100);
    endpoints.setCapacity(at(1).url, 1_000);
    const long = { promptTokens: 1, totalTokens: 400 };
    expect(acquire(endpoints, long)).toBeDefined();
    expect(acquire(endpoints, long)).toBeDefined();
    expect(acquire(endpoints, { promptTokens: 1, totalTokens: 150 })).toBeUndefined();
    const quiet = acquire(endpoints, { promptTokens: 1, totalTokens: 150 }, { quiet: true });
    expect(quiet).toBeDefined();
    quiet?.free(0);
    expect(acquire(endpoints, { promptTokens: 1, totalTokens: 100 })).toBeDefined();
    expect(endpoints.list(0)[0]).toMatchObject({ kvTokens: 900, kvCapacityTokens: 1_000 });
  });

  it('take a request that is larger than their KV cache, when they have nothing else', () => {
    const endpoints = healthy(4);
    endpoints.setCapacity(at(1).url, 1_000);
    const slot = acquire(endpoints, { totalTokens: 5_000 });
    expect(slot).toBeDefined();
    expect(acquire(endpoints)).toBeUndefined();
    slot?.free(0);
    expect(acquire(endpoints)).toBeDefined();
  });

  it('while quiet tenants are active compute a few prompts at a time, or one long one alone', () => {
    const endpoints = healthy(100);
    const claim = { reserve: 1 };
    const first = acquire(endpoints, { promptTokens: 600 }, claim);
    expect(acquire(endpoints, { promptTokens: 500 }, claim)).toBeUndefined();
    expect(endpoints.list(0)[0]?.holding).toBe(true);
    expect(acquire(endpoints, { promptTokens: 300 }, claim)).toBeDefined();
    expect(acquire(endpoints, { promptTokens: 500 }, { quiet: true })).toBeDefined();
    first?.firstToken(10);
    // The quiet one is being computed.
    expect(acquire(endpoints, { promptTokens: 1 }, claim)).toBeUndefined();
    // First tokens that nobody sees are not waited for.
    expect(acquire(endpoints, { promptTokens: 9_000 }, claim, 5_000)).toBeDefined();
    expect(acquire(endpoints, { promptTokens: 1 }, claim, 5_000)).toBeUndefined();
  });

  it('know nothing of endpoints that are not theirs, and free a slot once', () => {
    const endpoints = healthy(2);
    endpoints.gauges('http://elsewhere', { running: 1, waiting: 9 }, 0);
    endpoints.setCapacity('http://elsewhere', 5);
    const slot = acquire(endpoints);
    slot?.firstToken(1);
    slot?.firstToken(2);
    slot?.free(0);
    slot?.free(0);
    expect(endpoints.list(0)[0]).toMatchObject({ inFlight: 0, kvTokens: 0, holding: false });
  });
});
