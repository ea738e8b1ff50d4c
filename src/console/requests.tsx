/** The last decisions, and one request's time. */
import { useState } from 'preact/hooks';
import type { RequestLine } from '../admin/console-feed.ts';
import { Modal } from './modal.tsx';
import { clockText, countText, durationText } from './numbers.ts';
import { Name, Rows } from './parts.tsx';
import { questionOf } from './question.ts';
import { decisionText, phasesOf, refusalText } from './words.ts';

export function Requests({
  lines,
  onOpen,
}: {
  readonly lines: readonly RequestLine[];
  readonly onOpen: (line: RequestLine) => void;
}) {
  return (
    <section class="wide" aria-label="Last decisions">
      <h2>
        Last decisions <small>of requests that have ended, the newest first; open one for its times</small>
      </h2>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th>ended</th>
              <th>tenant</th>
              <th class="less">model</th>
              <th>decision</th>
              <th class="less">endpoint</th>
              <th class="n less">retries</th>
              <th class="n">TTFT</th>
            </tr>
          </thead>
          <Rows
            rows={lines}
            keyOf={({ id }) => id}
            columns={7}
            row={(line) => (
              <tr data-request={line.requestId} data-outcome={line.outcome}>
                <td>
                  <button type="button" class="row" data-open onClick={() => onOpen(line)}>
                    {clockText(line.endedMs)}
                  </button>
                </td>
                <td>
                  <Name of={line.tenant} />
                </td>
                <td class="less">
                  <Name of={line.model} />
                </td>
                <td class={line.outcome === 'failed' ? 'bad' : line.outcome === 'completed' ? '' : 'warn'}>
                  {decisionText(line)}
                </td>
                <td class="less">{line.endpoint?.replace(/^https?:\/\//, '') ?? '–'}</td>
                <td class="n less">{countText(line.retries ?? 0)}</td>
                <td class="n">{durationText(line.ttftMs)}</td>
              </tr>
            )}
          />
        </table>
      </div>
    </section>
  );
}

/** What is shown of `POST /explain`. */
interface Explained {
  readonly error?: string;
  readonly kind?: string;
  readonly status?: number;
  readonly reason?: string;
  readonly retryAfterMs?: number;
  readonly pool?: string;
  readonly lane?: string;
  readonly queue?: {
    readonly queued: number;
    readonly belowFairShare: boolean;
    readonly atCap: boolean;
    readonly refusal?: string;
    readonly choice?: { readonly endpoint?: string };
  };
}

function explainedText({ error, kind, status, reason, retryAfterMs, pool, lane, queue }: Explained): string {
  if (error !== undefined) return error;
  if (kind !== 'placed' || queue === undefined) {
    const when = retryAfterMs === undefined ? '' : `; try again in ${durationText(retryAfterMs)}`;
    return `It would be refused with ${status ?? '–'}: ${refusalText(reason ?? 'no reason given')}${when}.`;
  }
  const turn =
    queue.refusal !== undefined
      ? `be refused: ${refusalText(queue.refusal)}`
      : queue.atCap
        ? 'wait: its tenant has as many in the engines as it may'
        : queue.belowFairShare
          ? 'pass the queue: its tenant is below its fair share'
          : 'take its turn';
  const chosen = queue.choice?.endpoint;
  return `It would ${turn}; ${queue.queued} wait for pool ${pool ?? '–'}, lane ${lane ?? '–'}.${chosen === undefined ? '' : ` Endpoint: ${chosen}.`}`;
}

async function explain(question: object): Promise<string> {
  try {
    const response = await fetch('/explain', {
      method: 'POST',
      headers: { 'x-fairlane-command': 'console', 'content-type': 'application/json' },
      body: JSON.stringify(question),
    });
    const text = await response.text();
    return response.status === 403 ? text : explainedText(JSON.parse(text) as Explained);
  } catch {
    return 'The service did not answer.';
  }
}

const PHASES = {
  queue: 'queue',
  prefill: 'to the first token',
  decode: 'to the last token',
  rest: 'to the end',
} as const;

interface TimelineProps {
  readonly line: RequestLine;
  /** Whether the service may be asked what would become of it now. */
  readonly mayExplain: boolean;
  readonly onClose: () => void;
}

export function Timeline({ line, mayExplain, onClose }: TimelineProps) {
  const [told, setTold] = useState('');
  const phases = phasesOf(line);
  const question = mayExplain ? questionOf(line) : undefined;
  const members = Object.entries(line).filter(([, value]) => value !== undefined);
  return (
    <Modal title={`Request of ${clockText(line.endedMs)}`} onClose={onClose}>
      <p>
        <Name of={line.tenant} />: {decisionText(line)}. {durationText(line.durationMs)} in all
        {line.ttftMs === undefined ? '' : `, ${durationText(line.ttftMs)} to the first token`}.
      </p>
      <div
        class="phases"
        role="img"
        aria-label={phases.map(({ name, ms }) => `${PHASES[name]} ${durationText(ms)}`).join(', ')}
      >
        {phases
          .filter(({ ms }) => ms > 0)
          .map(({ name, ms }) => (
            <i key={name} class={name} style={{ width: `${(100 * ms) / Math.max(1, line.durationMs)}%` }} />
          ))}
      </div>
      <ul class="legend key">
        {phases
          .filter(({ name, ms }) => name !== 'rest' || ms >= 1)
          .map(({ name, ms }) => (
            <li key={name}>
              <i class={name} />
              {PHASES[name]} {durationText(ms)}
            </li>
          ))}
      </ul>
      <p>
        {countText(line.promptTokens)} prompt tokens ({countText(line.cachedTokens)} cached),{' '}
        {countText(line.completionTokens)} output tokens
        {line.itlMeanMs === undefined ? '' : `, ${durationText(line.itlMeanMs)} between two`}.
      </p>
      {question !== undefined && (
        <p>
          <button type="button" onClick={() => void explain(question).then(setTold)}>
            What would become of such a request now?
          </button>
        </p>
      )}
      <p role="status">{told}</p>
      <details>
        <summary>Its record</summary>
        <dl>
          {members.flatMap(([name, value]) => [
            <dt key={`${name}-`}>{name}</dt>,
            <dd key={name}>{String(value)}</dd>,
          ])}
        </dl>
      </details>
    </Modal>
  );
}
