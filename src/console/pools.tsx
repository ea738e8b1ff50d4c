/** Engines, and who waits for them. */
import type { EndpointStatusRow, PoolStatus, StatusReport } from '../admin/status.ts';
import { countText, durationText, percentText } from './numbers.ts';
import { Bar, Name, Rows } from './parts.tsx';

interface EnginesProps {
  readonly pools: readonly PoolStatus[];
  /** Absent: nothing may be drained from here. */
  readonly onDrain: ((endpoint: EndpointStatusRow) => void) | undefined;
}

interface Placed {
  readonly pool: PoolStatus;
  readonly endpoint: EndpointStatusRow;
}

const limitWords = ({ limitBy }: EndpointStatusRow): string =>
  limitBy === 'fixed' ? 'fixed' : `by ${limitBy}`;

const gaugesWords = ({ gauges, gaugesProblem }: EndpointStatusRow): string =>
  gauges === undefined
    ? (gaugesProblem ?? '–')
    : `${countText(gauges.running)} / ${countText(gauges.waiting)}${gauges.kvUsage === undefined ? '' : ` / ${percentText(gauges.kvUsage)}`}`;

export function Engines({ pools, onDrain }: EnginesProps) {
  const rows = pools.flatMap((pool) => pool.endpoints.map((endpoint): Placed => ({ pool, endpoint })));
  const row = ({ pool, endpoint }: Placed) => (
    <tr>
      <td>
        <Name of={endpoint.name.replace(/^https?:\/\//, '')} />
        <div class="soft">
          <Name of={pool.name} /> {endpoint.engine ?? ''}
          <span class={endpoint.serving ? 'more' : 'more bad'}> · {endpoint.state}</span>
        </div>
      </td>
      <td class={endpoint.serving ? 'less' : 'bad less'}>{endpoint.state}</td>
      <td class="less">
        <Bar
          part={endpoint.sequences}
          of={endpoint.concurrencyLimit}
          label={`${endpoint.sequences} of ${endpoint.concurrencyLimit} sequences in flight`}
        />
      </td>
      <td class="n">
        {countText(endpoint.sequences)} / {countText(endpoint.concurrencyLimit)}
      </td>
      <td class="less">{limitWords(endpoint)}</td>
      <td class="n less">{gaugesWords(endpoint)}</td>
      <td class="n less">{endpoint.adapters === undefined ? '–' : countText(endpoint.adapters.loaded)}</td>
      {onDrain !== undefined && (
        <td class="n">
          <button type="button" class="row" data-drain onClick={() => onDrain(endpoint)}>
            {endpoint.draining ? 'undrain' : 'drain'}
          </button>
        </td>
      )}
    </tr>
  );
  return (
    <section class="wide" aria-label="Engines">
      <h2>
        Engines <small>sequences in flight, of the concurrency limit</small>
      </h2>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th>endpoint</th>
              <th class="less">state</th>
              <th class="less">in flight</th>
              <th class="n">of limit</th>
              <th class="less">limit goes</th>
              <th class="n less">running / waiting / KV</th>
              <th class="n less">adapters</th>
              {onDrain !== undefined && <th class="n">action</th>}
            </tr>
          </thead>
          <Rows
            rows={rows}
            keyOf={({ pool, endpoint }) => `${pool.name} ${endpoint.name}`}
            columns={8}
            row={row}
          />
        </table>
      </div>
    </section>
  );
}

export function Queue({
  rows,
  waiting,
}: {
  readonly rows: StatusReport['queue']['rows'];
  readonly waiting: number;
}) {
  const most = rows.reduce((high, row) => Math.max(high, row.waiting), 0);
  return (
    <section aria-label="Queue">
      <h2>
        Queue <small>{waiting === 0 ? 'nobody waits' : `${countText(waiting)} requests wait`}</small>
      </h2>
      {rows.length > 0 && (
        <div class="scroll">
          <table>
            <thead>
              <tr>
                <th>tenant</th>
                <th>lane</th>
                <th class="less">waiting</th>
                <th class="n">requests</th>
                <th class="n">oldest</th>
              </tr>
            </thead>
            <Rows
              rows={rows}
              keyOf={({ pool, lane, tenant }) => `${pool} ${lane} ${tenant}`}
              columns={5}
              row={(row) => (
                <tr>
                  <td>
                    <Name of={row.tenant} />
                  </td>
                  <td>
                    <Name of={row.lane} />
                  </td>
                  <td class="less">
                    <Bar part={row.waiting} of={most} label={`${row.waiting} requests`} />
                  </td>
                  <td class="n">{countText(row.waiting)}</td>
                  <td class="n">{durationText(row.oldestMs)}</td>
                </tr>
              )}
            />
          </table>
        </div>
      )}
    </section>
  );
}
