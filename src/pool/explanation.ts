/** Reports a selection: which endpoint a request would have, its fallbacks, and of every endpoint what speaks against it. */
import type { Candidate, EndpointQueries } from '../routing/candidate.ts';
import { type ChoiceReport, explainLeastLoaded, withChoice } from '../routing/explain.ts';
import type { Endpoint, Shortage } from './endpoint.ts';
import type { RequestKey } from './health/rotation.ts';
import type { Selection, SelectionPool, Selector } from './selection.ts';
import type { Demand } from './types.ts';

export interface Question {
  readonly demand: Demand;
  readonly tenant: string;
  readonly nowMs: number;
}

const SHORTAGES: Readonly<Record<Shortage, string>> = {
  limit: 'at its concurrency limit',
  'kv-cache': 'KV cache full',
  headroom: 'only the headroom is free',
  prefill: 'prompts before it',
};
/** At its limit, although it has less in flight. */
const KEPT = 'its room is kept by what it would not serve, and others do';

const shortageOf = ({ passedOn }: Endpoint, answer: Shortage): string =>
  answer === 'limit' && passedOn.sequences > 0 ? KEPT : SHORTAGES[answer];

/** Why an endpoint may not have the request, but for room. */
function refusalsBy(
  pool: SelectionPool,
  endpoint: Endpoint,
  { demand, tenant, nowMs }: Question,
): readonly string[] {
  const { status, isHealthy, isProbed, isDrained } = endpoint;
  const key: RequestKey = { model: demand.model, tenant };
  const admission = isHealthy ? pool.rotation.admits(status, key, nowMs) : 'yes';
  return [
    ...(isHealthy ? [] : [isProbed ? 'unhealthy' : 'not probed yet']),
    ...(isDrained ? ['drained'] : []),
    ...(endpoint.isWithin(demand.within) ? [] : ['not in the subset']),
    ...(admission === 'yes' ? [] : [status.ejected ? 'ejected' : 'model broken there']),
  ];
}

/**
 * The table of a pool without a router, or of a request that is counted alone.
 *
 * @param refusals by address, but for room.
 */
function countedReport(
  { endpoints, turn }: SelectionPool,
  selector: Selector,
  demand: Demand,
  refusals: ReadonlyMap<string, readonly string[]>,
): ChoiceReport {
  const counted = endpoints.map((endpoint) => ({
    address: endpoint.address,
    sequences: endpoint.load,
    admitted: refusals.get(endpoint.address)?.length === 0 && selector.hasAdapter(endpoint, demand),
    hasRoom: endpoint.answer === 'yes',
  }));
  return explainLeastLoaded([...counted.slice(turn), ...counted.slice(0, turn)], demand.promptTokens);
}

/** @param chosen where the request goes: the selection's endpoint, or the one that the LoRA plan takes. */
export function explainSelection(
  pool: SelectionPool,
  selector: Selector,
  selection: Selection,
  chosen: Endpoint | undefined,
  question: Question,
): ChoiceReport {
  const { demand, nowMs } = question;
  const { choice } = demand;
  const refusals = new Map<string, readonly string[]>();
  for (const endpoint of pool.endpoints) {
    const isProbe = endpoint === chosen && selection.isProbe;
    refusals.set(endpoint.address, isProbe ? [] : refusalsBy(pool, endpoint, question));
    if (endpoint.answer === undefined) selector.askRoom(endpoint, 0);
  }
  const queries: EndpointQueries = {
    room({ candidateIndex }: Candidate, matchedTokens: number): boolean {
      const endpoint = pool.byCandidate[candidateIndex];
      if (endpoint === undefined) return false;
      return selector.askRoom(endpoint, matchedTokens) === 'yes' && selector.hasAdapter(endpoint, demand);
    },
    permits: () => true,
    borrows: chosen !== undefined && selector.isAcross(chosen, demand),
  };
  const table =
    pool.router === undefined || choice === undefined
      ? countedReport(pool, selector, demand, refusals)
      : pool.router.explain(choice, queries, nowMs);
  const report = withChoice(table, chosen?.address, selector.fallbacksOf(selection, chosen));
  const isAwaiting = chosen === undefined && selection.awaited !== undefined;
  const byAddress = new Map(pool.endpoints.map((endpoint) => [endpoint.address, endpoint]));
  return {
    ...report,
    endpoints: report.endpoints.map((row) => {
      const endpoint = byAddress.get(row.address);
      if (endpoint === undefined) return { ...row, refusedBy: [] };
      const { answer = 'yes' } = endpoint;
      return {
        ...row,
        refusedBy: [
          ...(refusals.get(row.address) ?? []),
          ...(answer === 'yes' ? [] : [shortageOf(endpoint, answer)]),
          // It may be loaded for the request.
          ...(selector.hasAdapter(endpoint, demand) ? [] : ['adapter not loaded']),
          ...(answer === 'yes' && isAwaiting
            ? [`the prompt is cached at ${selection.awaited?.address}`]
            : []),
        ],
      };
    }),
  };
}
