import { describe, expect, it } from 'vitest';
import { createTenant } from '../../../src/tenant/tenant-changes.ts';
import { NOTHING_STORED, type StoredState } from '../../../src/tenant/tenant-store.ts';
import { eventually } from '../../support/eventually.ts';
import { MemoryTenantStore, madeWorld, TOKEN } from '../../support/made-tenants.ts';
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
    await eventually(() => b.inUse.config.tenants.has('acme'), Boolean, 1_000);
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
    await eventually(() => !world.inUse.config.tenants.has('acme'), Boolean, 2_000);
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

  it('that a bug keeps from being taken over are tried again', async () => {
    const store = new MemoryTenantStore();
    const world = await madeWorld(files(), store);
    let fails = 2;
    world.made.follow({
      tell: (event) => world.events.push(event),
      async retake() {
        fails -= 1;
        if (fails >= 0) throw new Error('Envoy’s folder is full');
        world.inUse.config = world.made.merge(files());
      },
    });
    store.state = one(1);
    expect(await eventually(() => world.inUse.config.tenants.has('acme'), Boolean, 3_000)).toBe(true);
    await world.made.close();
  });
});
