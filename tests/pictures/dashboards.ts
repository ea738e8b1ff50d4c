/**
 * `npm run pictures`: docs/pictures/dashboard-*.png. A real Prometheus watches a real Envoy under load for some minutes; what it
 * answers to each query of each panel is drawn in Chromium, from the JSON that Grafana imports. With the path of a file the answers
 * are kept there, and drawn again by the next run.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import type { Browser } from 'playwright-core';
import { DASHBOARDS } from '../../src/dashboards/files.ts';
import { startChromium } from '../support/chromium.ts';
import { filledIn } from '../support/grafana.ts';
import { type WatchedWorld, watchLoad } from '../support/watched-world.ts';
import { paletted } from './palette.ts';

const OUT = 'docs/pictures';
const WIDTH = 1_400;
const LOAD_MS = 180_000;
const ALONE_MS = 40_000;
const FAULT_MS = 10_000;
const WINDOW = '15s';
const STEP_S = 1;
const RULES = ['recording', 'alerts'].map((name) => resolve(`observability/prometheus/${name}.yaml`));
const UPLOT = 'node_modules/uplot/dist';

interface Answer {
  /** Seconds since the load began. */
  readonly times: readonly number[];
  readonly series: readonly { readonly legend: string; readonly values: readonly (number | null)[] }[];
}

interface GrafanaPanel {
  readonly id: number;
  readonly targets?: readonly { readonly expr: string; readonly legendFormat: string }[];
}

const legendOf = (format: string, labels: Readonly<Record<string, string>>): string =>
  format.replaceAll(/\{\{(\w+)\}\}/g, (_, name: string) => labels[name] ?? '').trim();

async function answerOf({ targets = [] }: GrafanaPanel, world: WatchedWorld): Promise<Answer> {
  const from = Math.floor(world.fromS);
  const times = Array.from({ length: Math.ceil(world.toS - from) }, (_, i) => i * STEP_S);
  const series: Answer['series'][number][] = [];
  for (const { expr, legendFormat } of targets) {
    const filled = filledIn(expr, WINDOW);
    for (const { labels, points } of await world.prometheus.queryRange(
      filled,
      from,
      from + times.length - 1,
      STEP_S,
    )) {
      const values = new Map(points.map(([at, value]) => [Math.round(at - from), value]));
      series.push({
        legend: legendOf(legendFormat, labels),
        values: times.map((at) => {
          const value = values.get(at);
          return value === undefined || !Number.isFinite(value) ? null : value;
        }),
      });
    }
  }
  return { times, series };
}

interface Board {
  readonly uid: string;
  readonly panels: readonly GrafanaPanel[];
}

async function draw(
  browser: Browser,
  board: Board,
  answers: Readonly<Record<string, Answer>>,
): Promise<Buffer> {
  const page = await browser.newPage({ viewport: { width: WIDTH, height: 900 } });
  await page.setContent(readFileSync(join(import.meta.dirname, 'board.html'), 'utf8'));
  await page.addStyleTag({ path: `${UPLOT}/uPlot.min.css` });
  await page.addScriptTag({ path: `${UPLOT}/uPlot.iife.min.js` });
  await page.addScriptTag({ path: join(import.meta.dirname, 'board.mjs') });
  await page.evaluate(`drawBoard(${JSON.stringify(board)}, ${JSON.stringify(answers)})`);
  const picture = await page.screenshot({ fullPage: true });
  await page.close();
  return paletted(picture);
}

/** Answers by dashboard and panel. Kept in a file, they can be drawn again. */
type Answers = Record<string, Record<string, Answer>>;

const boards = (): readonly Board[] =>
  DASHBOARDS.map(({ uid }) => JSON.parse(readFileSync(`observability/grafana/${uid}.json`, 'utf8')) as Board);

async function asked(): Promise<Answers> {
  const world = await watchLoad({ loadMs: LOAD_MS, aloneMs: ALONE_MS, faultMs: FAULT_MS, ruleFiles: RULES });
  try {
    const all: Answers = {};
    for (const { uid, panels } of boards()) {
      const own: Record<string, Answer> = {};
      for (const panel of panels) own[panel.id] = await answerOf(panel, world);
      all[uid] = own;
    }
    return all;
  } finally {
    await world.close();
  }
}

/** @param path of a file of answers: drawn again if it is there, otherwise written. */
async function main(path: string | undefined): Promise<void> {
  const isKept = path !== undefined && existsSync(path);
  const answers = isKept ? (JSON.parse(readFileSync(path, 'utf8')) as Answers) : await asked();
  if (path !== undefined && !isKept) writeFileSync(path, JSON.stringify(answers));
  const browser = await startChromium();
  mkdirSync(OUT, { recursive: true });
  try {
    for (const board of boards()) {
      const picture = await draw(browser, board, answers[board.uid] ?? {});
      const name = join(OUT, `${board.uid.replace('fairlane-', 'dashboard-')}.png`);
      writeFileSync(name, picture);
      console.log(`${basename(name)}: ${Math.round(picture.length / 1_024)} KiB`);
    }
  } finally {
    await browser.close();
  }
}

await main(process.argv[2]);
