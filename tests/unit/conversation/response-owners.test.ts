/** Who owns a response: the table, its bounds, and what hostile ids and replicas make of it. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ownerOfText, ownerText } from '../../../src/conversation/owner-text.ts';
import { type ResponseOwner, ResponseOwners } from '../../../src/conversation/response-owners.ts';
import { type SharedIds, SharedOwners } from '../../../src/conversation/shared-owners.ts';

const owner = (tenant: string, endpoint = '10.0.0.1:8000', tokens = 0): ResponseOwner => ({
  tenant,
  pool: 'main',
  endpoint,
  model: 'm',
  asked: 'm',
  tokens,
});
const id = (n: number | string): string => `resp_${n}`;
const BOUNDS = { maxIds: 10, maxIdsPerTenant: 8, lifeMs: 1_000 };

describe('owners of responses', () => {
  it('are found by their own tenant alone', () => {
    const table = new ResponseOwners(BOUNDS);
    expect(table.remember(id(1), owner('a'), 0)).toBe(true);
    expect(table.find('a', id(1), 0)?.endpoint).toBe('10.0.0.1:8000');
    expect(table.find('b', id(1), 0)).toBeUndefined();
    expect(table.find('', id(1), 0)).toBeUndefined();
  });

  it('keep an id that another answer carries too, of another tenant or engine', () => {
    const table = new ResponseOwners(BOUNDS);
    table.remember(id(1), owner('a'), 0);
    expect(table.remember(id(1), owner('b'), 0)).toBe(false);
    expect(table.remember(id(1), owner('a', '10.0.0.2:8000'), 0)).toBe(false);
    expect(table.find('a', id(1), 0)?.endpoint).toBe('10.0.0.1:8000');
    expect(table.find('b', id(1), 0)).toBeUndefined();
    expect(table.remember(id(1), owner('a', '10.0.0.1:8000', 70), 0)).toBe(true);
    expect(table.find('a', id(1), 0)?.tokens).toBe(70);
  });

  it('expire, and are swept', () => {
    const table = new ResponseOwners(BOUNDS);
    for (let n = 0; n < 4; n += 1) table.remember(id(n), owner('a'), 0);
    expect(table.find('a', id(0), 999)).toBeDefined();
    expect(table.find('a', id(0), 1_000)).toBeUndefined();
    table.remember(id(9), owner('b'), 1_000);
    expect([table.size(), table.sizeOf('a')]).toEqual([1, 0]);
    expect(table.remember(id(0), owner('b'), 1_000)).toBe(true);
  });

  it('are forgotten by their own tenant alone', () => {
    const table = new ResponseOwners(BOUNDS);
    table.remember(id(1), owner('a'), 0);
    table.forget('b', id(1));
    expect(table.find('a', id(1), 0)).toBeDefined();
    table.forget('a', id(1));
    expect([table.find('a', id(1), 0), table.size(), table.sizeOf('a')]).toEqual([undefined, 0, 0]);
  });

  it('push out their own, the oldest first, and nobody’s who has fewer', () => {
    const table = new ResponseOwners(BOUNDS);
    for (let n = 0; n < 3; n += 1) table.remember(id(`b${n}`), owner('b'), 0);
    for (let n = 0; n < 1_000; n += 1) table.remember(id(n), owner('a'), 0);
    expect([table.size(), table.sizeOf('a'), table.sizeOf('b')]).toEqual([10, 7, 3]);
    expect(table.find('a', id(999), 0)).toBeDefined();
    expect(table.find('a', id(0), 0)).toBeUndefined();
    for (let n = 3; n < 1_000; n += 1) table.remember(id(`b${n}`), owner('b'), 0);
    expect([table.sizeOf('a'), table.sizeOf('b')]).toEqual([5, 5]);
  });

  it('push out those of whoever has most, among many tenants and whatever went before', () => {
    const step = fc.record({
      what: fc.constantFrom('remember', 'remember', 'remember', 'forget'),
      tenant: fc.nat(6),
      which: fc.nat(30),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const table = new ResponseOwners({ maxIds: 12, maxIdsPerTenant: 8, lifeMs: 50 });
        const sizes = (): readonly number[] => [0, 1, 2, 3, 4, 5, 6].map((n) => table.sizeOf(`t${n}`));
        for (const { what, tenant, which } of steps) {
          const before = sizes();
          if (what === 'forget') table.forget(`t${tenant}`, id(which));
          else table.remember(id(which), owner(`t${tenant}`), 0);
          const now = sizes();
          expect(now.reduce((sum, one) => sum + one, 0)).toBe(table.size());
          const isFull = before.reduce((sum, one) => sum + one, 0) === 12 && table.size() === 12;
          const losers = now.flatMap((size, n) => (size < (before[n] ?? 0) ? [before[n] ?? 0] : []));
          if (what === 'remember' && isFull && losers.length === 1) {
            expect(losers[0]).toBe(Math.max(...before));
          }
        }
      }),
    );
  });

  it.each([
    '',
    'resp_',
    'RESP_a',
    'msg_a',
    'resp_a b',
    'resp_a/b',
    'resp_a\n',
    'resp_ä',
    'resp_%00',
    '__proto__',
    `resp_${'a'.repeat(124)}`,
    `resp_${'a'.repeat(1_000_000)}`,
  ])('are not remembered for what is no id: %#', (wrong) => {
    const table = new ResponseOwners(BOUNDS);
    expect(table.remember(wrong, owner('a'), 0)).toBe(false);
    expect(table.size()).toBe(0);
  });
});

describe('the text of an owner', () => {
  it('comes back as it was', () => {
    const one = owner('a "quoted" one', '[::1]:80', 5);
    expect(ownerOfText(ownerText(one), 5)).toEqual(one);
  });

  it.each([
    '',
    '{}',
    '[]',
    'null',
    '["a","b","c","d"]',
    '["a","b","c","d",1]',
    '["a","b","c","d",""]',
    '[',
    `["${'a'.repeat(5_000)}","b","c","d","e"]`,
  ])('that nobody wrote is none: %#', (text) => expect(ownerOfText(text, 0)).toBeUndefined());

  it.each([-1, Number.NaN, 1.5, Number.POSITIVE_INFINITY])('with %s tokens has none', (tokens) => {
    expect(ownerOfText(ownerText(owner('a')), tokens)?.tokens).toBe(0);
  });
});

/** A Redis without the wire. */
class Replicas implements SharedIds {
  readonly stored = new Map<string, { readonly owner: string; readonly tokens: number }>();
  isAway = false;
  asked = 0;

  tell(key: string, text: string, tokens: number): Promise<string | undefined> {
    const before = this.stored.get(key);
    if (this.isAway) return Promise.resolve(undefined);
    if (before !== undefined && before.owner !== text) return Promise.resolve(before.owner);
    this.stored.set(key, { owner: text, tokens });
    return Promise.resolve(undefined);
  }

  ask(key: string): ReturnType<SharedIds['ask']> {
    this.asked += 1;
    return Promise.resolve(this.isAway ? 'unsure' : (this.stored.get(key) ?? 'unknown'));
  }

  forget(key: string, text: string): void {
    if (this.stored.get(key)?.owner === text) this.stored.delete(key);
  }
}

describe('owners that replicas share', () => {
  it('stay forgotten when an answer ends that was deleted while it came', () => {
    const redis = new Replicas();
    const owners = new SharedOwners(redis, () => 0);
    owners.remember(id(1), owner('a'), 0);
    owners.ended(id(1), owner('a', '10.0.0.1:8000', 9), 0);
    expect(owners.find('a', id(1), 0)).toMatchObject({ tokens: 9 });
    owners.forget(id(1), owner('a'));
    owners.ended(id(1), owner('a', '10.0.0.1:8000', 12), 0);
    expect([owners.size(), redis.stored.size]).toEqual([0, 0]);
  });

  it('are found through another replica, and not asked for twice', async () => {
    const redis = new Replicas();
    const [one, other] = [new SharedOwners(redis, () => 0), new SharedOwners(redis, () => 0)];
    one.remember(id(1), owner('a', '10.0.0.1:8000', 12), 0);
    expect(await other.find('a', id(1), 0)).toEqual(owner('a', '10.0.0.1:8000', 12));
    expect(redis.asked).toBe(1);
    expect(other.find('a', id(1), 0)).toEqual(owner('a', '10.0.0.1:8000', 12));
    expect(await other.find('b', id(1), 0)).toBeUndefined();
  });

  it('make another tenant wait for the same answer as for an unknown id, though the id is known here', async () => {
    const redis = new Replicas();
    const one = new SharedOwners(redis, () => 0);
    one.remember(id(1), owner('a'), 0);
    const [foreign, unknown] = [one.find('b', id(1), 0), one.find('b', id(2), 0)];
    expect([foreign, unknown].every((found) => found instanceof Promise)).toBe(true);
    expect([await foreign, await unknown]).toEqual([undefined, undefined]);
    expect(redis.asked).toBe(2);
    redis.isAway = true;
    expect([await one.find('b', id(1), 0), await one.find('b', id(2), 0)]).toEqual(['unsure', 'unsure']);
    expect(one.find('a', id(1), 0)).toEqual(owner('a'));
  });

  it('keep an id that another replica’s engine gave before', async () => {
    const redis = new Replicas();
    const [one, other] = [new SharedOwners(redis, () => 0), new SharedOwners(redis, () => 0)];
    one.remember(id(1), owner('a'), 0);
    other.remember(id(1), owner('b', '10.0.0.2:8000'), 0);
    await Promise.resolve();
    await Promise.resolve();
    expect(await other.find('b', id(1), 0)).toBeUndefined();
    expect(one.find('a', id(1), 0)).toEqual(owner('a'));
  });

  it('do not believe a text that nobody wrote', async () => {
    const redis = new Replicas();
    redis.stored.set(id(1), { owner: '["a"]', tokens: 1 });
    expect(await new SharedOwners(redis, () => 0).find('a', id(1), 0)).toBeUndefined();
  });
});

describe('whatever comes in which order', () => {
  const step = fc.record({
    kind: fc.constantFrom('answer', 'follow', 'delete', 'time'),
    tenant: fc.constantFrom('a', 'b'),
    engine: fc.constantFrom('10.0.0.1:1', '10.0.0.2:1'),
    id: fc.integer({ min: 0, max: 5 }),
    replica: fc.constantFrom(0, 1),
    isAway: fc.boolean(),
  });

  it('nobody is sent where another’s id leads', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.boolean(), async (steps, areShared) => {
        const redis = new Replicas();
        const replicas = [0, 1].map(
          () => new SharedOwners(areShared ? redis : undefined, () => 0, { ...BOUNDS, lifeMs: 50 }),
        );
        /** By id: whoever has ever had an answer with it, and from where. */
        const answered = new Map<string, Set<string>>();
        let nowMs = 0;
        for (const { kind, tenant, engine, id: n, replica, isAway } of steps) {
          const owners = replicas[replica] as SharedOwners;
          const key = id(n);
          redis.isAway = isAway;
          if (kind === 'time') nowMs += 20;
          else if (kind === 'answer') {
            answered.set(key, (answered.get(key) ?? new Set()).add(`${tenant} ${engine}`));
            owners.remember(key, owner(tenant, engine), nowMs);
          } else {
            const found = await owners.find(tenant, key, nowMs);
            if (typeof found !== 'object') continue;
            expect(found.tenant).toBe(tenant);
            expect(answered.get(key)?.has(`${tenant} ${found.endpoint}`)).toBe(true);
            if (kind === 'delete') owners.forget(key, found);
          }
        }
      }),
      { seed: 13, numRuns: 500 },
    );
  });
});
