/** Time to first token of each stream, as dots. */
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import type { RequestLine } from '../admin/console-feed.ts';
import type { Colours } from './colours.ts';
import { durationText } from './numbers.ts';

const MOST_SECONDS = 300;
const LEAST_SECONDS = 60;
const HEIGHT = 230;
const DOT = 5;

interface Dots {
  readonly colours: readonly string[];
  readonly data: uPlot.AlignedData;
}

/** One series a colour, over all times, the oldest first. */
function dotsOf(lines: readonly RequestLine[], colours: Colours, nowMs: number): Dots {
  const shown = lines
    .filter(({ ttftMs, endedMs }) => ttftMs !== undefined && nowMs - endedMs < 1_000 * MOST_SECONDS)
    .toReversed();
  const names = [...new Set(shown.map(({ tenant }) => colours.of(tenant)))];
  const series = names.map((colour) =>
    shown.map(({ tenant, ttftMs }) => (colours.of(tenant) === colour ? Math.max(1, ttftMs ?? 1) : null)),
  );
  return { colours: names, data: [shown.map(({ endedMs }) => endedMs / 1_000), ...series] };
}

const ink = (name: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function plotOf(
  host: HTMLElement,
  { colours, data }: Dots,
  range: () => [number, number],
  values: () => [number, number],
): uPlot {
  const axis = {
    stroke: ink('--soft'),
    grid: { stroke: ink('--line'), width: 1 },
    ticks: { show: false },
    font: '12px system-ui, sans-serif',
  };
  return new uPlot(
    {
      width: host.clientWidth,
      height: HEIGHT,
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: true, range }, y: { distr: 3, range: values } },
      axes: [
        {
          ...axis,
          values: (_, at) => at.map((s) => new Date(1_000 * s).toTimeString().slice(0, 8)),
          space: 90,
        },
        {
          ...axis,
          size: 62,
          values: (_, at) => at.map((ms) => (/^10*$/.test(String(Math.round(ms))) ? durationText(ms) : '')),
        },
      ],
      series: [
        {},
        ...colours.map((fill) => ({
          paths: () => null,
          points: { show: true, size: DOT, fill, stroke: fill, width: 0 },
        })),
      ],
    },
    data,
    host,
  );
}

/** @param theme that its ink is of: another one draws it anew. */
export function Chart({
  lines,
  colours,
  nowMs,
  theme,
}: {
  readonly lines: readonly RequestLine[];
  readonly colours: Colours;
  readonly nowMs: number;
  readonly theme: string;
}) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<{ readonly chart: uPlot; readonly key: string } | undefined>(undefined);
  const window = useRef<[number, number]>([0, 1]);
  const values = useRef<[number, number]>([10, 10_000]);
  useEffect(() => {
    if (host.current === null) return;
    const dots = dotsOf(lines, colours, nowMs);
    const oldest = dots.data[0][0] ?? nowMs / 1_000;
    const seconds = Math.min(MOST_SECONDS, Math.max(LEAST_SECONDS, nowMs / 1_000 - oldest));
    window.current = [nowMs / 1_000 - seconds, nowMs / 1_000];
    const all = dots.data.slice(1).flatMap((one) => [...one].filter((ms) => typeof ms === 'number'));
    const [low, high] = [
      all.reduce((a, b) => Math.min(a, b), 100),
      all.reduce((a, b) => Math.max(a, b), 1_000),
    ];
    values.current = [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high * 1.01))];
    const key = `${theme} ${host.current.clientWidth} ${dots.colours.join(' ')}`;
    if (plot.current?.key === key) plot.current.chart.setData(dots.data);
    else {
      plot.current?.chart.destroy();
      plot.current = {
        chart: plotOf(
          host.current,
          dots,
          () => window.current,
          () => values.current,
        ),
        key,
      };
    }
  }, [lines, nowMs, theme, colours]);
  useEffect(() => () => plot.current?.chart.destroy(), []);
  return (
    <div
      class="chart"
      ref={host}
      role="img"
      aria-label="Time to first token of each stream of the last minutes, by tenant. The same numbers are in the table of tenants."
    />
  );
}
