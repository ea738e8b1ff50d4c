/** Why an endpoint was chosen: every filter's verdict and every score, for all endpoints. Pure, and not fast. */
import { attracts } from './attraction.ts';
import type { Asked, Candidate, ScorerName, Weights } from './candidate.ts';
import { ALL_FILTERS, ALL_SCORERS, ATTRACTIONS, choose, newScratch } from './choose.ts';
import { matchedTokens } from './scorers/prefix.ts';

interface Score {
  readonly scorer: ScorerName;
  /** 0 to 1; undefined where the request has no opinion. */
  readonly score: number | undefined;
  readonly weight: number;
  /** What it adds to the sum. */
  readonly points: number;
}

interface EndpointReport {
  readonly address: string;
  /** Why it may not have the request now, as its owner says; absent where only filters are known. */
  readonly refusedBy?: readonly string[];
  readonly filters: readonly { readonly filter: string; readonly passes: boolean }[];
  readonly scores: readonly Score[];
  /** False: it is above the attraction limit, and what it remembers adds nothing. */
  readonly attracts: boolean;
  readonly matchedTokens: number;
  readonly sum: number;
  /** 0: chosen; 1 and up: a fallback's place; undefined: neither. */
  readonly place: number | undefined;
}

export interface ChoiceReport {
  readonly chosen: string | undefined;
  readonly fallbacks: readonly string[];
  readonly promptTokens: number;
  readonly endpoints: readonly EndpointReport[];
  /** Of the adapter that the request needs, where adapters are loaded and unloaded. */
  readonly adapter?: AdapterFate;
}

/**
 * `chosen` has it · it is being loaded there · it would be loaded there · it waits for room where it is · no endpoint has it and
 * none may load it · its loads fail on every endpoint that could take the request.
 */
type AdapterFate = 'loaded' | 'loading' | 'to-load' | 'waits' | 'nowhere' | 'failed';

/** What is known of one endpoint and an adapter. */
export interface AdapterThere {
  readonly address: string;
  readonly sequences: number;
  readonly admitted: boolean;
  readonly hasRoom: boolean;
  readonly state: 'loaded' | 'loading' | 'failing' | 'absent';
}

/** The report with an adapter: only who has it may serve, and who could take the request may load it. */
export function withAdapter(
  report: ChoiceReport,
  rows: readonly AdapterThere[],
  isLoadable: boolean,
): ChoiceReport {
  const known = [...rows]
    .filter(({ admitted }) => admitted)
    .sort((a, b) => a.sequences - b.sequences)
    .sort((a, b) => Number(b.address === report.chosen) - Number(a.address === report.chosen));
  const able = known.filter(({ hasRoom }) => hasRoom);
  const there = able.find(({ state }) => state === 'loaded');
  const others = known.filter((one) => one !== there && one.state === 'loaded');
  const next = ((): { readonly adapter: AdapterFate; readonly at?: AdapterThere } => {
    if (there !== undefined) return { adapter: 'loaded', at: there };
    if (!isLoadable) return { adapter: rows.some(({ state }) => state === 'loaded') ? 'waits' : 'nowhere' };
    const loading = able.find(({ state }) => state === 'loading');
    if (loading !== undefined) return { adapter: 'loading', at: loading };
    const at = able.find(({ state }) => state === 'absent');
    if (at !== undefined) return { adapter: 'to-load', at };
    return { adapter: able.length === 0 ? 'waits' : 'failed' };
  })();
  const order = next.at === undefined ? [] : [next.at, ...(there === undefined ? [] : others)];
  const places = new Map(order.map(({ address }, place) => [address, place]));
  return {
    ...report,
    adapter: next.adapter,
    chosen: next.at?.address,
    fallbacks: order.slice(1).map(({ address }) => address),
    endpoints: report.endpoints.map((endpoint) => ({ ...endpoint, place: places.get(endpoint.address) })),
  };
}

/** @param asked its `room` is asked of every endpoint: it must change nothing. */
export function explain(
  candidates: readonly Candidate[],
  asked: Asked,
  weights: Weights,
  turn: number,
): ChoiceReport {
  const scratch = newScratch();
  const choice = choose(candidates, asked, weights, turn, scratch);
  const order = choice === undefined ? [] : [choice.candidate, ...choice.fallbacks];
  return {
    chosen: choice?.candidate.address,
    fallbacks: choice?.fallbacks.map(({ address }) => address) ?? [],
    promptTokens: asked.request.promptTokens,
    endpoints: candidates.map((candidate) => {
      const isAttractive = attracts(candidate, scratch.attractionLimit);
      const scores = ALL_SCORERS.map(({ name, applies, score }): Score => {
        const weight = weights[name];
        if (!applies(asked)) return { scorer: name, score: undefined, weight, points: 0 };
        const value = score(candidate, asked);
        const counts = isAttractive || !ATTRACTIONS.has(name);
        return { scorer: name, score: value, weight, points: counts ? weight * value : 0 };
      });
      const place = order.indexOf(candidate);
      return {
        address: candidate.address,
        filters: ALL_FILTERS.map(({ name, passes }) => ({ filter: name, passes: passes(candidate, asked) })),
        scores,
        attracts: isAttractive,
        matchedTokens: Math.round(matchedTokens(candidate, asked)),
        sum: scores.reduce((sum, { points }) => sum + points, 0),
        place: place === -1 ? undefined : place,
      };
    }),
  };
}

const PLACES = ['chosen', '1st fallback', '2nd fallback', '3rd fallback'];

function cellOf({ score, weight, points }: Score): string {
  if (score === undefined) return '-';
  const counted = points === weight * score ? '' : ' (not counted)';
  return `${score.toFixed(2)}×${Number(weight.toPrecision(3))}${counted}`;
}

/** What is known of an endpoint of a pool that counts requests, and nothing else. */
export interface CountedEndpoint {
  readonly address: string;
  readonly sequences: number;
  /** It may have the request but for room. */
  readonly admitted: boolean;
  readonly hasRoom: boolean;
}

/** The same of a pool without a router: the least loaded with room, of equal ones the first in `endpoints`. */
export function explainLeastLoaded(
  endpoints: readonly CountedEndpoint[],
  promptTokens: number,
): ChoiceReport {
  const least = (these: readonly CountedEndpoint[]): readonly CountedEndpoint[] =>
    [...these].sort((a, b) => a.sequences - b.sequences);
  const [chosen] = least(endpoints.filter(({ admitted, hasRoom }) => admitted && hasRoom));
  const others = least(endpoints.filter((one) => one.admitted && one !== chosen));
  const order = chosen === undefined ? [] : [chosen, ...others];
  return {
    chosen: chosen?.address,
    fallbacks: order.slice(1).map(({ address }) => address),
    promptTokens,
    endpoints: endpoints.map((one) => {
      const score = 1 / (1 + one.sequences);
      const place = order.indexOf(one);
      return {
        address: one.address,
        filters: [],
        scores: [{ scorer: 'load', score, weight: 1, points: score }],
        attracts: true,
        matchedTokens: 0,
        sum: score,
        place: place === -1 ? undefined : place,
      };
    }),
  };
}

const refusalsOf = ({ refusedBy, filters }: EndpointReport): readonly string[] => {
  const named = filters.filter(({ passes }) => !passes).map(({ filter }) => filter);
  return refusedBy === undefined || refusedBy.length === 0 ? named : refusedBy;
};

const AT_ADAPTER: Readonly<Partial<Record<AdapterFate, string>>> = {
  loading: ', once the adapter is loaded there',
  'to-load': ', once the adapter is loaded there; if all places are taken, one must come free first',
};
const WITHOUT_ADAPTER: Readonly<Partial<Record<AdapterFate, string>>> = {
  nowhere:
    'No engine has the adapter, and Fairlane may not load it: it needs a path, and its pool adaptersPerEndpoint.',
  failed: 'Loading the adapter fails everywhere: the log has why, under adapter-failed.',
};

/** The report as a table for people: one line for each endpoint, the chosen one first. */
export function explainText({ endpoints, promptTokens, chosen, adapter }: ChoiceReport): string {
  const header = [
    'endpoint',
    'place',
    'refused by',
    'cached tokens',
    ...(endpoints[0]?.scores ?? []).map(({ scorer }) => scorer),
    'sum',
  ];
  const last = Number.POSITIVE_INFINITY;
  const rows = [...endpoints]
    .sort((a, b) => (a.place ?? last) - (b.place ?? last) || b.sum - a.sum)
    .map((endpoint) => [
      endpoint.address,
      endpoint.place === undefined ? '-' : (PLACES[endpoint.place] ?? `${endpoint.place}th fallback`),
      refusalsOf(endpoint).join(', ') || '-',
      `${endpoint.matchedTokens} of ${promptTokens}`,
      ...endpoint.scores.map(cellOf),
      endpoint.sum.toFixed(3),
    ]);
  const widths = header.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd();
  const verdict =
    chosen === undefined
      ? (WITHOUT_ADAPTER[adapter ?? 'loaded'] ?? 'No endpoint passes all filters now.')
      : `Chosen: ${chosen}${AT_ADAPTER[adapter ?? 'loaded'] ?? ''}`;
  return [line(header), ...rows.map(line), '', verdict].join('\n');
}
