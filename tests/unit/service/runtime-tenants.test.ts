import { describe, expect, it, vi } from 'vitest';
import { RuntimeTenants } from '../../../src/service/runtime-tenants.ts';
import { createTenant } from '../../../src/tenant/tenant-changes.ts';
import { NOTHING_STORED, type StoredState } from '../../../src/tenant/tenant-store.ts';
import { eventually } from '../../support/eventually.ts';
import { MemoryTenantStore, madeWorld, TOKEN } from '../../support/made-tenants.ts';
import { Stalls } from '../../support/stalls.ts';
import { configOf, minimal } from '../config/parse.ts';

const files = () =>
  configOf({ ...minimal(), admin: { token: 'env:ADMIN', directory: '/s' } }, { env: { ADMIN: TOKEN } });
const one = (version: number): StoredState => ({
  ...NOTHING_STORED,
  version,
  tenants: new Map([
    ['acme', { name: 'acme', settings: {}, isDisabled: false, createdMs: 1, changedMs: 1, version }],
  ]),
});

describe('made tenants', () => {
  it('of another replica are in force within a second, and are in the copy', async () => {
    const store = new MemoryTenantStore();
    const [a, b] = [await madeWorld(files(), store), await madeWorld(files(), store)];
    await a.made.change('admin', (known) => createTenant(known, 'acme', {}));
    expect(a.inUse.config.tenants.has('acme')).toBe(true);
    const stalls = new Stalls();
    const before = performance.now();
    await eventually(() => b.inUse.config.tenants.has('acme'), Boolean);
    expect(stalls.sinceMs(before)).toBeLessThan(1_000);
    stalls.close();
    expect(b.written.at(-1)?.tenants.has('acme')).toBe(true);
    await Promise.all([a.made.close(), b.made.close()]);
  });

  it('of two who decide on the same state one decides again', async () => {
    const store = new MemoryTenantStore();
    const [a, b] = [await madeWorld(files(), store), await madeWorld(files(), store)];
    const make = (world: typeof a, name: string) =>
      world.made.change('admin', (known) => createTenant(known, name, {}));
    const kinds = (await Promise.all([make(a, 'x'), make(b, 'x'), make(a, 'y'), make(b, 'z')])).map(
      ({ kind }) => kind,
    );
    expect(kinds.filter((kind) => kind === 'change')).toHaveLength(3);
    expect(store.entries.map(({ version }) => version)).toEqual([3, 2, 1]);
    await Promise.all([a.made.close(), b.made.close()]);
  });

  it('at a start without the store are those of the last copy', async () => {
    const store = new MemoryTenantStore();
    store.isAway = true;
    const world = await madeWorld(files(), store, one(4));
    expect(world.inUse.config.tenants.has('acme')).toBe(true);
    expect(world.made.status()).toMatchObject({ away: { reason: 'no connection' }, tenants: 1 });
    store.state = { ...NOTHING_STORED, version: 5 };
    store.isAway = false;
    await eventually(() => !world.inUse.config.tenants.has('acme'), Boolean);
    expect(world.made.status().away).toBeUndefined();
    await world.made.close();
  });

  it('stay when the store has lost everything, which is told, and nothing is written over it', async () => {
    const world = await madeWorld(files(), new MemoryTenantStore(), one(4));
    expect(world.inUse.config.tenants.has('acme')).toBe(true);
    expect(world.made.status().away?.reason).toContain('remove /state/tenants.json');
    await expect(world.made.change('admin', (known) => createTenant(known, 'x', {}))).rejects.toThrow(
      'has no tenants any more',
    );
    expect(world.store.state.version).toBe(0);
    await world.made.close();
  });

  it('stay when the store went back to an earlier state: a key that was revoked is not to be one again', async () => {
    const store = new MemoryTenantStore();
    store.state = one(2);
    const world = await madeWorld(files(), store, { ...NOTHING_STORED, version: 4 });
    expect(world.inUse.config.tenants.has('acme')).toBe(false);
    expect(world.made.status().away?.reason).toContain('is at change 2, after 4');
    store.state = one(5);
    expect(await eventually(() => world.inUse.config.tenants.has('acme'), Boolean)).toBe(true);
    expect(world.made.status().away).toBeUndefined();
    await world.made.close();
  });

  it('that cannot be taken over are tried again, which is told once, and the store is not said to be away', async () => {
    const store = new MemoryTenantStore();
    const world = await madeWorld(files(), store);
    let fails = 3;
    world.made.follow({
      tell: (event) => world.events.push(event),
      async retake() {
        fails -= 1;
        if (fails >= 0) throw new Error('Envoy’s folder is full');
        world.inUse.config = world.made.merge(files());
      },
    });
    const refused = { status: 503, body: { error: { code: 'not_in_force' } } };
    expect(await world.call({ method: 'POST', url: '/v1/tenants', body: { name: 'acme' } })).toMatchObject(
      refused,
    );
    expect(store.state.tenants.has('acme')).toBe(true);
    const enable = { method: 'PATCH', url: '/v1/tenants/acme', body: { disabled: false } };
    // It is what is stored already, and that is not in force yet.
    expect(await world.call(enable)).toMatchObject(refused);
    const { away, notInForce } = world.made.status();
    expect([away, notInForce?.reason]).toEqual([undefined, 'Envoy’s folder is full']);
    expect(await eventually(() => world.inUse.config.tenants.has('acme'), Boolean, 10_000)).toBe(true);
    await eventually(
      () => world.events.length,
      (told) => told === 2,
    );
    expect(world.events).toEqual([
      {
        kind: 'tenants-not-in-force',
        failing: true,
        problem: expect.stringContaining('Envoy’s folder is full'),
      },
      { kind: 'tenants-not-in-force', failing: false },
    ]);
    expect(world.made.status().notInForce).toBeUndefined();
    expect(await world.call(enable)).toMatchObject({ status: 200 });
    await world.made.close();
  });

  it('of a store that answers after the start has read the copy, and before it is followed', async () => {
    const store = new MemoryTenantStore();
    let answer = (): void => undefined;
    const answered = new Promise<void>((resolve) => {
      answer = resolve;
    });
    const made = new RuntimeTenants({
      open: () => answered.then(() => store),
      shown: 'memory',
      copy: { path: '/state/tenants.json', read: () => undefined, write: () => undefined },
      unixMs: Date.now,
    });
    vi.useFakeTimers();
    const opened = made.open();
    await vi.advanceTimersByTimeAsync(10_000);
    vi.useRealTimers();
    await opened;
    let config = made.merge(files());
    store.state = one(4);
    answer();
    await eventually(
      () => made.status().tenants,
      (tenants) => tenants === 1,
    );
    made.follow({
      tell: () => undefined,
      async retake() {
        config = made.merge(files());
      },
    });
    expect(await eventually(() => config.tenants.has('acme'), Boolean)).toBe(true);
    await made.close();
  });

  it('of a store that says nothing any more do not keep the service from its end', async () => {
    vi.useFakeTimers();
    const world = await madeWorld(files());
    world.store.version = () => new Promise<never>(() => undefined);
    await vi.advanceTimersByTimeAsync(500);
    let isClosed = false;
    void world.made.close().then(() => {
      isClosed = true;
    });
    await vi.advanceTimersByTimeAsync(1_999);
    expect(isClosed).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    expect(isClosed).toBe(true);
    vi.useRealTimers();
  });

  it('tell when keys were used also after the clock was set back', async () => {
    const store = new MemoryTenantStore();
    const world = await madeWorld(files(), store);
    await world.made.change('admin', (known) => createTenant(known, 'acme', {}));
    const made = await world.call({ method: 'POST', url: '/v1/tenants/acme/keys', body: {} });
    const { id } = made.body as { readonly id: string };
    world.clock.ms -= 365 * 24 * 3_600_000;
    world.made.noteUse(id);
    await eventually(
      () => store.state.keys.get(id)?.usedMs,
      (used) => used === world.clock.ms,
    );
    expect(store.state.keys.get(id)?.usedMs).toBe(world.clock.ms);
    await world.made.close();
  });
});
