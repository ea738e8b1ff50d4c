/** Time to first token of each stream, as dots. */
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import type { RequestLine } from '../admin/console-feed.ts';
import type { Colours } from './colours.ts';
import { durationText } from './numbers.ts';

const MOST_SECONDS = 300;
const LEAST_SECONDS = 30;
const HEIGHT = 230;
const DOT = 6;
const TIMES_HEIGHT = 30;
/** The scale of values has a line at each power of ten, and one at its third between. */
const LINES = [1, 3];

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

/** Values of the lines of a log scale. */
function linesOf(low: number, high: number): number[] {
  const lines: number[] = [];
  for (let at = 10 ** Math.floor(Math.log10(low)); at <= high; at *= 10)
    lines.push(...LINES.map((times) => times * at).filter((ms) => ms >= low && ms <= high));
  return lines;
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
          size: TIMES_HEIGHT,
        },
        {
          ...axis,
          size: 62,
          splits: (_, __, low, high) => linesOf(low, high),
          // All of those that are lines.
          filter: (_, at) => at,
          values: (_, at) => at.map((ms) => durationText(ms)),
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
    // What ended since the last status is newer than that.
    const newest = Math.max(nowMs / 1_000, dots.data[0].at(-1) ?? 0);
    const seconds = Math.min(MOST_SECONDS, Math.max(LEAST_SECONDS, newest - oldest));
    window.current = [newest - seconds, newest];
    const all = dots.data.slice(1).flatMap((one) => [...one].filter((ms) => typeof ms === 'number'));
    const [low, high] = [
      all.reduce((a, b) => Math.min(a, b), 100),
      all.reduce((a, b) => Math.max(a, b), 1_000),
    ];
    values.current = [10 ** Math.floor(Math.log10(low)), 1.6 * high];
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
