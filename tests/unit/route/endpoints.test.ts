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
    { quiet: false, reserve: 0, ...claim },
    nowMs,
  );

describe("a pool's endpoints", () => {
  it('are not in the rotation until they are known to be healthy', () => {
    const endpoints = createPoolEndpoints(fixedWindow);
    endpoints.reconfigure([at(1)], config(4));
    expect(acquire(endpoints)).toBeUndefined();
    endpoints.setHealthy(at(1).url, true);
    expect(acquire(endpoints)?.address).toBe('10.0.0.1:8000');
    expect(endpoints.window(0)).toBe(4);
  });
  it('move the slot to where Envoy served the request, and free it there', () => {
    const endpoints = createPoolEndpoints(fixedWindow);
    endpoints.reconfigure([at(1), at(2)], config(4));
    endpoints.setHealthy(at(1).url, true);
    endpoints.setHealthy(at(2).url, true);
    const slot = acquire(endpoints);
    slot?.moveTo('10.0.0.2:8000');
    slot?.moveTo('10.9.9.9:1');
    expect(endpoints.list(0).map(({ inFlight }) => inFlight)).toEqual([0, 1]);
    slot?.free();
    slot?.moveTo('10.0.0.1:8000');
    slot?.free();
    expect(endpoints.list(0).map(({ inFlight }) => inFlight)).toEqual([0, 0]);
    expect(endpoints.inFlight()).toBe(0);
  });
  it('keep the state of those that stay over a reconfiguration, and count what a removed one still serves', () => {
    const endpoints = createPoolEndpoints(fixedWindow);
    endpoints.reconfigure([at(1), at(2)], config(1));
    endpoints.setHealthy(at(1).url, true);
    const slot = acquire(endpoints);
    endpoints.reconfigure([{ url: at(2).url, address: '10.0.0.22:8000' }, at(3)], config(1));
    expect(endpoints.inFlight()).toBe(1);
    slot?.free();
    expect(endpoints.inFlight()).toBe(0);
    endpoints.setHealthy(at(2).url, true);
    expect(acquire(endpoints)?.address).toBe('10.0.0.22:8000');
  });
});
