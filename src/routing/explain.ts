/** Why an endpoint was chosen: every filter's verdict and every score, for all endpoints. Pure, and not fast. */

import type { ScorerName, Weights } from '../domain/routing-profiles.ts';
import { PAGE_WIDTH, type TableStyle, textTable } from '../domain/text-table.ts';
import { attracts } from './attraction.ts';
import type { Candidate, ScoringContext } from './candidate.ts';
import { choose, newScratch } from './choose.ts';
import { ALL_FILTERS } from './filters.ts';
import { matchedTokens } from './scorers/prefix.ts';
import { ALL_SCORERS } from './scorers.ts';

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
  /** Its name; absent: not looked up yet. */
  readonly endpoint?: string;
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
  /** Addresses. */
  readonly chosen: string | undefined;
  readonly fallbacks: readonly string[];
  /** The name of the endpoint that is chosen; absent: none is, or it was not looked up yet. */
  readonly endpoint?: string;
  readonly promptTokens: number;
  readonly endpoints: readonly EndpointReport[];
}

/** @param context its `queries.room` is asked of every endpoint: it must change nothing. */
export function explain(
  candidates: readonly Candidate[],
  context: ScoringContext,
  weights: Weights,
  turn: number,
): ChoiceReport {
  const scratch = newScratch();
  const choice = choose(candidates, context, weights, turn, scratch);
  const order = choice === undefined ? [] : [choice.candidate, ...choice.fallbacks];
  return {
    chosen: choice?.candidate.address,
    fallbacks: choice?.fallbacks.map(({ address }) => address) ?? [],
    promptTokens: context.request.promptTokens,
    endpoints: candidates.map((candidate) => {
      const isAttractive = attracts(candidate, scratch.attractionLimit);
      const scores = ALL_SCORERS.map(({ name, applies, remembers, score }): Score => {
        const weight = weights[name];
        if (!applies(context)) return { scorer: name, score: undefined, weight, points: 0 };
        const value = score(candidate, context);
        const counts = isAttractive || remembers !== true;
        return { scorer: name, score: value, weight, points: counts ? weight * value : 0 };
      });
      const place = order.indexOf(candidate);
      return {
        address: candidate.address,
        filters: ALL_FILTERS.map(({ name, passes }) => ({
          filter: name,
          passes: passes(candidate, context),
        })),
        scores,
        attracts: isAttractive,
        matchedTokens: Math.round(matchedTokens(candidate, context)),
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
  /** In flight, divided by the endpoint's weight. */
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

/** The same table with the choice of who asks, which may go by more than filters and scores. */
export function withChoice(
  report: ChoiceReport,
  chosen: string | undefined,
  fallbacks: readonly string[],
): ChoiceReport {
  const order = chosen === undefined ? [] : [chosen, ...fallbacks];
  return {
    ...report,
    chosen,
    fallbacks: order.slice(1),
    endpoints: report.endpoints.map((endpoint) => {
      const place = order.indexOf(endpoint.address);
      return { ...endpoint, place: place === -1 ? undefined : place };
    }),
  };
}

/** The same table with the endpoints' names. @param nameOf by address. */
export function withNames(report: ChoiceReport, nameOf: (address: string) => string): ChoiceReport {
  return {
    ...report,
    ...(report.chosen !== undefined && { endpoint: nameOf(report.chosen) }),
    endpoints: report.endpoints.map((one) => ({ endpoint: nameOf(one.address), ...one })),
  };
}

const refusalsOf = ({ refusedBy, filters }: EndpointReport): readonly string[] => {
  const named = filters.filter(({ passes }) => !passes).map(({ filter }) => filter);
  return refusedBy === undefined || refusedBy.length === 0 ? named : refusedBy;
};

const STYLE: TableStyle = { indent: '', align: 'left', longestName: 60, foldsHeadings: false };

/** The report as a table for people: one line for each endpoint, the chosen one first. */
export function explainText({
  endpoints,
  promptTokens,
  chosen,
  endpoint: name = chosen,
}: ChoiceReport): string {
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
      endpoint.endpoint ?? endpoint.address,
      endpoint.place === undefined ? '-' : (PLACES[endpoint.place] ?? `${endpoint.place}th fallback`),
      refusalsOf(endpoint).join(', ') || '-',
      `${endpoint.matchedTokens} of ${promptTokens}`,
      ...endpoint.scores.map(cellOf),
      endpoint.sum.toFixed(3),
    ]);
  const verdict = name === undefined ? 'No endpoint passes all filters now.' : `Chosen: ${name}`;
  return [...textTable(header, rows, PAGE_WIDTH, STYLE), '', verdict].join('\n');
}
