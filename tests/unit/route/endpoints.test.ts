import { describe, expect, it } from 'vitest';
import { createPoolEndpoints } from '../../../src/route/endpoints.ts';

const at = (n: number) => ({ url: `http://e${n}:8000`, address: `10.0.0.${n}:8000` });

describe("a pool's endpoints", () => {
  it('are not in the rotation until they are known to be healthy', () => {
    const endpoints = createPoolEndpoints();
    endpoints.reconfigure([at(1)], 4);
    expect(endpoints.acquire()).toBeUndefined();
    endpoints.setHealthy(at(1).url, true);
    expect(endpoints.acquire()?.address).toBe('10.0.0.1:8000');
    expect(endpoints.window()).toBe(4);
  });
  it('move the slot to where Envoy served the request, and free it there', () => {
    const endpoints = createPoolEndpoints();
    endpoints.reconfigure([at(1), at(2)], 4);
    endpoints.setHealthy(at(1).url, true);
    endpoints.setHealthy(at(2).url, true);
    const slot = endpoints.acquire();
    slot?.moveTo('10.0.0.2:8000');
    slot?.moveTo('10.9.9.9:1');
    expect(endpoints.list().map(({ inFlight }) => inFlight)).toEqual([0, 1]);
    slot?.free();
    slot?.moveTo('10.0.0.1:8000');
    slot?.free();
    expect(endpoints.list().map(({ inFlight }) => inFlight)).toEqual([0, 0]);
    expect(endpoints.inFlight()).toBe(0);
  });
  it('keep the state of those that stay over a reconfiguration, and count what a removed one still serves', () => {
    const endpoints = createPoolEndpoints();
    endpoints.reconfigure([at(1), at(2)], 1);
    endpoints.setHealthy(at(1).url, true);
    const slot = endpoints.acquire();
    endpoints.reconfigure([{ url: at(2).url, address: '10.0.0.22:8000' }, at(3)], 1);
    expect(endpoints.inFlight()).toBe(1);
    slot?.free();
    expect(endpoints.inFlight()).toBe(0);
    endpoints.setHealthy(at(2).url, true);
    expect(endpoints.acquire()?.address).toBe('10.0.0.22:8000');
  });
});
