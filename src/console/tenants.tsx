/** Tenants now, and what they have used. */
import { useState } from 'preact/hooks';
import type { UsageEvent, UsageRow } from '../admin/console-feed.ts';
import type { TenantStatus } from '../admin/status.ts';
import type { Colours } from './colours.ts';
import { countText, durationText, rateText, whenText } from './numbers.ts';
import { Name, Rows } from './parts.tsx';

function limitsWords({ requests, tokens, month, budget }: TenantStatus): string {
  const left = [
    requests === undefined ? '' : `${countText(requests.left)} requests`,
    tokens === undefined ? '' : `${countText(tokens.left)} tokens`,
    month === undefined ? '' : `${countText(month.left)} this month`,
    budget === undefined ? '' : budget.left,
  ].filter((part) => part !== '');
  return left.length === 0 ? 'no limits' : left.join(', ');
}

export function Tenants({
  rows,
  more,
  colours,
  onDisable,
  onEnable,
}: {
  readonly rows: readonly TenantStatus[];
  readonly more: number;
  readonly colours: Colours;
  /** Absent: there is no admin API. */
  readonly onDisable: ((tenant: string) => void) | undefined;
  /** Leads to those that are disabled. */
  readonly onEnable: () => void;
}) {
  return (
    <section class="wide" aria-label="Tenants">
      <h2>
        Tenants{' '}
        <small>with requests now or in the last minute{more > 0 ? `; ${more} more are not shown` : ''}</small>
        {onDisable !== undefined && (
          <button type="button" class="row" data-enable onClick={onEnable}>
            disabled ones
          </button>
        )}
      </h2>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th>tenant</th>
              <th class="n">in flight</th>
              <th class="n">waiting</th>
              <th class="n less">requests/s</th>
              <th class="n less">tokens/s</th>
              <th class="n">TTFT p50</th>
              <th class="n less">p99</th>
              <th class="less">left of limits</th>
              {onDisable !== undefined && <th class="n">action</th>}
            </tr>
          </thead>
          <Rows
            rows={rows}
            keyOf={({ name }) => name}
            columns={9}
            row={(tenant) => (
              <tr>
                <td class="who">
                  <span class="dot" style={{ background: colours.of(tenant.name) }} />{' '}
                  <Name of={tenant.name} />
                </td>
                <td class="n">{countText(tenant.inFlight)}</td>
                <td class="n">{countText(tenant.waiting)}</td>
                <td class="n less">{rateText(tenant.requestsPerSecond)}</td>
                <td class="n less">{rateText(tenant.tokensPerSecond)}</td>
                <td class="n">{durationText(tenant.ttftP50Ms)}</td>
                <td class="n less">{durationText(tenant.ttftP99Ms)}</td>
                <td class="less">{limitsWords(tenant)}</td>
                {onDisable !== undefined && (
                  <td class="n">
                    <button type="button" class="row" data-disable onClick={() => onDisable(tenant.name)}>
                      disable
                    </button>
                  </td>
                )}
              </tr>
            )}
          />
        </table>
      </div>
    </section>
  );
}

const NUMBERS = [
  ['requests', 'requests'],
  ['refused', 'refused'],
  ['promptTokens', 'prompt tokens'],
  ['completionTokens', 'output tokens'],
  ['gpuSeconds', 'GPU-s'],
] as const;
type Column = 'tenant' | 'model' | (typeof NUMBERS)[number][0];

/** Narrow windows have no place for these. */
const less = (column: Column): string => (column === 'promptTokens' || column === 'gpuSeconds' ? 'less' : '');

const inOrder = (by: Column) => (a: UsageRow, b: UsageRow) =>
  by === 'tenant' || by === 'model' ? (a[by] < b[by] ? -1 : 1) : b[by] - a[by];

export function Usage({ rows, usage }: { readonly rows: readonly UsageRow[]; readonly usage: UsageEvent }) {
  const [by, setBy] = useState<Column>('completionTokens');
  const head = (column: Column, text: string, number: boolean) => (
    <th
      class={`${number ? 'n' : ''} ${less(column)}`}
      aria-sort={by === column ? (number ? 'descending' : 'ascending') : 'none'}
    >
      <button type="button" class="sort" onClick={() => setBy(column)}>
        {text}
        {by === column ? (number ? ' ↓' : ' ↑') : ''}
      </button>
    </th>
  );
  return (
    <section aria-label="Usage">
      <h2>
        Usage{' '}
        <small>
          since {whenText(Date.parse(usage.since), Date.now())}
          {usage.left > 0 ? `; ${usage.left} rows more` : ''}
        </small>
      </h2>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              {head('tenant', 'tenant', false)}
              {head('model', 'model', false)}
              {NUMBERS.map(([column, text]) => head(column, text, true))}
            </tr>
          </thead>
          <Rows
            rows={[...rows].sort(inOrder(by))}
            keyOf={({ tenant, model }) => `${tenant} ${model}`}
            columns={7}
            row={(row) => (
              <tr>
                <td>
                  <Name of={row.tenant} />
                </td>
                <td>
                  <Name of={row.model === '' ? undefined : row.model} />
                </td>
                {NUMBERS.map(([column]) => (
                  <td key={column} class={`n ${less(column)}`}>
                    {countText(row[column])}
                  </td>
                ))}
              </tr>
            )}
          />
        </table>
      </div>
    </section>
  );
}
