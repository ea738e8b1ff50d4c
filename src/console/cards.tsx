/** Quiet against noisy in large figures. */
import type { StatusReport } from '../admin/status.ts';
import type { Colours } from './colours.ts';
import type { Contestant } from './contrast.ts';
import { countText, durationText, percentText, rateText } from './numbers.ts';
import { Name } from './parts.tsx';
import { type Fullness, fullness, OVER_SHARE, slotless, timesText } from './words.ts';

const shareWords = (times: number | undefined): string =>
  times === undefined
    ? ''
    : times >= OVER_SHARE
      ? `asks for ${timesText(times)} times its share`
      : 'within its fair share';

function splitWords({ split }: Contestant): string {
  if (split === undefined) return '';
  const { queueMs, engineMs, isAsAlone } = split;
  return isAsAlone
    ? `${durationText(engineMs)} of it in the engine: about what it would wait alone`
    : `${durationText(queueMs)} of it in the queue, ${durationText(engineMs)} in the engine`;
}

/** @param longestMs what the whole width stands for: of all cards the same. */
function TenantCard({
  one,
  longestMs,
  colour,
}: {
  readonly one: Contestant;
  readonly longestMs: number;
  readonly colour: string;
}) {
  const { tenant, split, times } = one;
  const percent = (ms: number): string => `${Math.min(100, (100 * ms) / longestMs)}%`;
  return (
    <section class="card" data-card={tenant.name.slice(0, 200)}>
      <h2>
        <span class="dot" style={{ background: colour }} /> <Name of={tenant.name} />
        <small class={times !== undefined && times >= OVER_SHARE ? 'warn' : ''}>{shareWords(times)}</small>
      </h2>
      <p class="figure" title="The median of streams that ended in the last minute">
        {durationText(tenant.ttftP50Ms)}
        <small> to the first token</small>
      </p>
      <div class="split" aria-hidden="true">
        <i style={{ width: percent(split?.queueMs ?? tenant.ttftP50Ms ?? 0), background: colour }} />
        <i class="in-engine" style={{ width: percent(split?.engineMs ?? 0) }} />
      </div>
      <p class="soft">{splitWords(one)}</p>
      <p class="counts">
        <span>
          <b>{countText(tenant.inFlight)}</b> in flight
        </span>
        <span>
          <b>{countText(tenant.waiting)}</b> waiting
        </span>
        <span class={tenant.refusalsPerSecond > 0 ? 'warn' : ''}>
          <b>{rateText(tenant.refusalsPerSecond)}</b> refused/s
        </span>
      </p>
    </section>
  );
}

function slotsWords({ headroom }: Fullness, waiting: number): string {
  if (headroom === 0) return '';
  const kept = `${countText(headroom)} ${headroom === 1 ? 'slot is' : 'slots are'} kept for tenants below their fair share`;
  return waiting > 0 ? `${kept}; others wait for the rest.` : `${kept}.`;
}

function EngineCard({ status }: { readonly status: StatusReport }) {
  const full = fullness(status);
  const { sequences, limit, headroom, endpoints } = full;
  const { waiting, tokensPerSecond, refusalsPerSecond } = status.totals;
  const percent = (slots: number): number => (limit > 0 ? Math.min(100, (100 * slots) / limit) : 0);
  return (
    <section class="card" data-card-engine>
      <h2>
        {endpoints === 1 ? 'Engine' : `${countText(endpoints)} engines`}{' '}
        <small>{countText(tokensPerSecond)} tokens/s</small>
      </h2>
      <p class="figure">
        {countText(sequences)}
        <small> of </small>
        {countText(limit)}
        <small> slots taken</small>
      </p>
      <div
        class="split full"
        role="img"
        aria-label={`The engines are ${percentText(percent(sequences) / 100)} full.`}
      >
        <i class="taken" style={{ width: `${percent(sequences)}%` }} />
        <i
          class="kept"
          style={{ width: `${percent(Math.min(headroom, Math.max(0, limit - sequences)))}%` }}
        />
      </div>
      <p class="soft">{slotless(status) ?? slotsWords(full, waiting)}</p>
      <p class="counts">
        <span>
          <b>{countText(waiting)}</b> waiting
        </span>
        <span>
          <b>{rateText(refusalsPerSecond)}</b> refused/s
        </span>
      </p>
    </section>
  );
}

export function Cards({
  status,
  against,
  colours,
}: {
  readonly status: StatusReport;
  readonly against: readonly Contestant[];
  readonly colours: Colours;
}) {
  const longestMs = against.reduce((most, { tenant }) => Math.max(most, tenant.ttftP50Ms ?? 0), 1);
  return (
    <div class="cards" data-cards={against.length}>
      {against.map((one) => (
        <TenantCard
          key={one.tenant.name}
          one={one}
          longestMs={longestMs}
          colour={colours.of(one.tenant.name)}
        />
      ))}
      <EngineCard status={status} />
    </div>
  );
}
