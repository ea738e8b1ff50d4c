/** What a decision costs, by the number of tenants that are known. */
import { type Config, DEFAULT_LANE, type TenantConfig } from '../../src/config/config.ts';
import { createMemoryStore } from '../../src/limit/memory-store.ts';
import { fixedLimit } from '../../src/pool/concurrency-limit/fixed.ts';
import { createPoolEndpoints } from '../../src/pool/pool-endpoints.ts';
import { createDispatcher } from '../../src/queue/dispatcher.ts';
import type { Release } from '../../src/queue/types.ts';
import { createTenantDirectory } from '../../src/tenant/directory.ts';

const ROUNDS = 9;
const DECISIONS = 30_000;
const ACTIVE = 10;
const LIMIT = 64;

/** A directory of `known` tenants and a dispatcher in a steady overload of some of them. */
function createLoop(known: number, active: number): () => number {
  const tenants = new Map<string, TenantConfig>(
    Array.from({ length: known }, (_, i) => [
      `tenant-${i}`,
      { name: `tenant-${i}`, keys: [], models: '*', limits: { weight: 1, maxOutputs: 16, maxQueued: 100 } },
    ]),
  );
  const directory = createTenantDirectory({ tenants } as unknown as Config, createMemoryStore(), Date.now);
  const endpoints = createPoolEndpoints(fixedLimit);
  endpoints.reconfigure([{ url: 'http://e', address: 'e' }], {
    concurrencyLimit: LIMIT,
    prefillTokens: 1e6,
    headroom: 'auto',
  });
  endpoints.setHealthy('http://e', true, 0);
  const dispatcher = createDispatcher(
    {
      maxWaitMs: 1e9,
      maxQueued: 1e6,
      quantumTokens: 64,
      lanes: new Map([[DEFAULT_LANE.name, DEFAULT_LANE]]),
    },
    (name) => directory.get(name)?.config.limits,
  );
  dispatcher.addPool('main', endpoints);
  const running: Release[] = [];
  let nowMs = 0;
  let turn = 0;
  const names = Array.from({ length: active }, (_, i) => `tenant-${Math.floor((i * known) / active)}`);
  const offer = (): void => {
    turn += 1;
    dispatcher.offer(
      {
        tenant: names[turn % names.length] ?? '',
        pool: 'main',
        lane: 'default',
        cost: 100 + (turn % 400),
        demand: { sequences: 1, promptTokens: 100, totalTokens: 200, streamed: true, model: 'demo' },
        onRelease: (release) => running.push(release),
        onExpire() {},
      },
      nowMs,
    );
  };
  for (let i = 0; i < 4 * LIMIT; i += 1) offer();
  /** CPU microseconds of one decision: an arrival, a release, a first token, a settlement and an end. */
  return () => {
    const before = process.cpuUsage();
    for (let i = 0; i < DECISIONS; i += 1) {
      nowMs += 1;
      offer();
      const release = running.shift();
      release?.slot.ended({ status: 200 }, nowMs);
      release?.firstToken(nowMs);
      release?.settle(300, nowMs);
      release?.free(nowMs);
    }
    const { user, system } = process.cpuUsage(before);
    return (user + system) / DECISIONS;
  };
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

/** Both sizes in turn within one run; the median of the rounds' ratios. */
export function decisionCost(
  few: number,
  many: number,
): { readonly ratio: number; readonly fewUs: number; readonly manyUs: number } {
  const loops = [createLoop(few, ACTIVE), createLoop(many, ACTIVE)] as const;
  for (const loop of loops) loop();
  const rounds = Array.from({ length: ROUNDS }, (_, i) => {
    // Who goes first alternates.
    const first = i % 2;
    const a = loops[first === 0 ? 0 : 1]();
    const b = loops[first === 0 ? 1 : 0]();
    return first === 0 ? ([a, b] as const) : ([b, a] as const);
  });
  return {
    ratio: median(rounds.map(([a, b]) => b / a)),
    fewUs: median(rounds.map(([a]) => a)),
    manyUs: median(rounds.map(([, b]) => b)),
  };
}
