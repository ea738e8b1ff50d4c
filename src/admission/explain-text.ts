/** What would become of a request, for people. Pure. */
import { amountText } from '../domain/amount.ts';
import { explainText } from '../routing/explain.ts';
import type { Explanation, LimitViews, Placed } from './explain.ts';

const round = (value: number): string => String(Math.round(value));

function limitsText({ requests, tokens, month, budget }: LimitViews): string {
  const parts = Object.entries({ requests, tokens, 'tokens this month': month }).flatMap(([what, view]) =>
    view === undefined
      ? []
      : [
          `${round(view.remaining)} of ${round(view.limit)} ${what} left${view.remaining < 1 ? ' (429 for now)' : ''}`,
        ],
  );
  if (budget !== undefined) {
    const { currency, limit, remaining, isSoft } = budget;
    const [left, whole] = [remaining, limit].map((nano) => amountText({ currency, nano }));
    parts.push(
      `${left} of ${whole} budget this month left${remaining < 1 && !isSoft ? ' (429 for now)' : ''}`,
    );
  }
  return parts.length === 0 ? 'no limits' : parts.join(', ');
}

function turnOf({ queue, tenant }: Placed): string {
  const { belowFairShare, atCap, queued, queuedOfTenant, headroom } = queue;
  const waiting = `${queued} requests wait for the pool, ${queuedOfTenant} of them of ${tenant}`;
  if (queue.refusal !== undefined) return `refused (${queue.refusal}); ${waiting}`;
  if (atCap) return `waits: the tenant has maxConcurrent requests in the engines; ${waiting}`;
  if (belowFairShare) return `passes the queue, as the tenant is below its fair share; ${waiting}`;
  return `in turn; ${waiting}; slots kept free for quiet tenants: ${headroom}`;
}

function refusalText(
  explanation: Extract<Explanation, { kind: 'refused' }>,
  unixMs: number | undefined,
): string {
  const { tenant, status, reason, retryAfterMs, limits, body, tried } = explanation;
  const seconds = retryAfterMs === undefined ? undefined : Math.ceil(retryAfterMs / 1_000);
  const at =
    unixMs === undefined || seconds === undefined
      ? ''
      : `, at ${new Date(unixMs + 1_000 * seconds).toISOString().replace(/\..*/, 'Z')}`;
  const over = seconds === undefined ? 'waiting does not help' : `try again in ${seconds} s${at}`;
  return [
    `It would be refused with ${status}:\n${body}`,
    '',
    `reason   ${reason}; ${over}`,
    tried === undefined ? `tenant   ${tenant}: ${limitsText(limits)}` : explanationText(tried),
  ].join('\n');
}

/** For people. @param unixMs when it was asked for; undefined: times are told as durations alone. */
export function explanationText(explanation: Explanation, unixMs?: number): string {
  if (explanation.kind === 'refused') return refusalText(explanation, unixMs);
  const { tenant, asked, model, pool, lane, promptTokens, totalTokens, sequences, cost, limits, queue } =
    explanation;
  return [
    `tenant   ${tenant}: ${limitsText(limits)}`,
    `model    ${model}${asked === model ? '' : `, asked for as ${asked}`}, in the pool ${pool}, lane ${lane}`,
    `size     ${round(promptTokens)} prompt tokens, ${round(totalTokens)} with the predicted output; sequences: ${sequences}; cost ${round(cost)}`,
    `turn     ${turnOf(explanation)}`,
    '',
    explainText(queue.choice),
  ].join('\n');
}
