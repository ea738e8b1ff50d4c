/** What `/status` shows of one pool. */
import type { EndpointStatusRow, PoolStatus } from '../admin/status.ts';
import { fullnessOf, saturationOfPool } from '../pool/saturation.ts';
import type { EndpointState } from '../pool/types.ts';
import type { Dispatcher } from '../queue/types.ts';
import type { PoolFacts } from './health-report.ts';
import type { PoolRuntime } from './pool-runtime.ts';

interface PoolStatusParts {
  readonly facts: PoolFacts;
  /** In the order of the facts' endpoints. */
  readonly states: readonly EndpointState[];
  readonly isMirror: boolean;
  readonly waiting: number;
  readonly waitingForSlot: number;
  readonly headroom: number;
  readonly lanes: PoolStatus['lanes'];
}

/** @param isMirror it gets copies only. */
export function poolStatusOf(
  pool: PoolRuntime,
  dispatcher: Pick<Dispatcher, 'queuedOf' | 'slotWaitOf' | 'headroomOf' | 'lanesOf'>,
  isMirror: boolean,
  nowMs: number,
): PoolStatus {
  const { name } = pool;
  return poolStatus({
    facts: pool.facts(),
    states: pool.endpoints.list(nowMs),
    isMirror,
    waiting: dispatcher.queuedOf(name),
    waitingForSlot: dispatcher.slotWaitOf(name, nowMs).requests,
    headroom: dispatcher.headroomOf(name, nowMs),
    lanes: Array.from(dispatcher.lanesOf(name), ({ lane, queued, inFlight }) => ({
      name: lane,
      inFlight,
      waiting: queued,
    })),
  });
}

function poolStatus({
  facts,
  states,
  isMirror,
  waiting,
  waitingForSlot,
  headroom,
  lanes,
}: PoolStatusParts): PoolStatus {
  const drained = new Set(facts.drained.map(({ url }) => url));
  const endpoints = states.flatMap((state, i) => {
    const known = facts.endpoints[i];
    return known === undefined ? [] : [endpointStatus(known, state, drained.has(known.url))];
  });
  return {
    name: facts.name,
    mirror: isMirror,
    healthy: facts.healthy,
    serving: facts.serving,
    inFlight: states.reduce((sum, { inFlight }) => sum + inFlight, 0),
    ...fullnessOf(endpoints, waiting),
    headroom,
    saturation: saturationOfPool(endpoints, waitingForSlot),
    lanes,
    endpoints,
  };
}

function endpointStatus(
  facts: PoolFacts['endpoints'][number],
  state: EndpointState,
  isDrained: boolean,
): EndpointStatusRow {
  const { address, engine, gauges, gaugesProblem, adapters } = facts;
  return {
    name: facts.url,
    ...(address !== undefined && { address }),
    ...(engine !== undefined && { engine }),
    state: facts.readiness,
    serving: state.serving,
    healthy: state.healthy,
    ejected: state.ejected,
    draining: isDrained,
    broken: state.broken,
    inFlight: state.inFlight,
    sequences: state.sequences,
    concurrencyLimit: state.concurrencyLimit,
    limitBy: state.limitSource,
    kvTokens: Math.round(state.kvTokens),
    ...(state.kvCapacityTokens !== undefined && { kvCapacityTokens: state.kvCapacityTokens }),
    ...(gauges !== undefined && { gauges }),
    ...(gaugesProblem !== undefined && { gaugesProblem }),
    ...(adapters !== undefined && {
      adapters: { loaded: adapters.loaded.length, loading: adapters.loading.length },
    }),
  };
}
