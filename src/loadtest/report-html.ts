/** A comparison as one HTML page that needs nothing else: no script, no font, no picture from anywhere. */
import type { ArmReport, Comparison, GroupReport } from './compare.ts';
import {
  ARM_COLUMNS,
  aboutLine,
  armCells,
  HOW_TO_READ,
  RATIO_COLUMNS,
  ratioCells,
  shown,
  TENANT_COLUMNS,
  tenantCells,
  tenantsShown,
} from './report-text.ts';

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
const escaped = (text: string): string => text.replace(/[&<>"']/g, (character) => ESCAPES[character] ?? '');

const STYLE = `
:root { color-scheme: light dark; --back: #fff; --ink: #1c2024; --soft: #60646c; --line: #d9d9e0; --warn: #8f4a00; --warn-back: #fff4d6;
  --a0: #0b68cb; --a1: #c2410c; --a2: #7c3aed; --a3: #15803d; --a4: #64748b; }
@media (prefers-color-scheme: dark) {
  :root { --back: #111315; --ink: #edeef0; --soft: #b0b4ba; --line: #363a3f; --warn: #ffca66; --warn-back: #332400;
    --a0: #70b8ff; --a1: #ff9a62; --a2: #b89cff; --a3: #5bd08a; --a4: #9aa7b8; }
}
body { background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p.about, p.read, figcaption { color: var(--soft); }
p.warning { background: var(--warn-back); border-left: 4px solid var(--warn); color: var(--warn); padding: .5rem .75rem; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .6rem; text-align: right; white-space: nowrap; }
th { font-weight: 600; white-space: normal; } th:first-child, td:first-child { text-align: left; }
figure { margin: 0 0 1rem; } svg { max-width: 100%; height: auto; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; } svg .strong { fill: var(--ink); }
svg line { stroke: var(--line); }
.s0 { fill: var(--a0); } .s1 { fill: var(--a1); } .s2 { fill: var(--a2); } .s3 { fill: var(--a3); } .s4 { fill: var(--a4); }
`;

const WIDTH = 860;
const LEFT = 110;
const RIGHT = 70;

/** The same colour for an arm in every chart. */
const colourOf = (index: number): string => `s${index % 5}`;

function table(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (tag: string, texts: readonly string[]): string =>
    texts.map((text) => `<${tag}>${escaped(text)}</${tag}>`).join('');
  return `<div class="wide"><table><thead><tr>${cells('th', columns)}</tr></thead><tbody>${rows
    .map((row) => `<tr>${cells('td', row)}</tr>`)
    .join('')}</tbody></table></div>`;
}

const figure = (title: string, height: number, caption: string, content: string): string =>
  `<figure><svg viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" role="img" aria-label="${escaped(title)}">${content}</svg><figcaption>${escaped(caption)}</figcaption></figure>`;

interface LogScale {
  readonly at: (value: number) => number;
  readonly ticks: readonly number[];
}

/** Whole powers of ten around the values, from 0 to `size`. */
function logScale(values: readonly number[], size: number): LogScale {
  const positive = values.filter((value) => value > 0);
  const low = Math.floor(Math.log10(positive.reduce((least, value) => Math.min(least, value), 1e9)));
  const high = Math.max(
    low + 1,
    Math.ceil(Math.log10(positive.reduce((most, value) => Math.max(most, value), 1e-3))),
  );
  return {
    at: (value) => (size * (Math.log10(Math.max(value, 10 ** low)) - low)) / (high - low),
    ticks: Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)),
  };
}

const round = (value: number): string => value.toFixed(1);

function ttftBars(
  arms: readonly ArmReport[],
  whose: string,
  groupOf: (arm: ArmReport) => GroupReport,
): string {
  const QUANTILES = ['p50', 'p90', 'p99'] as const;
  const rows = arms.map((arm, index) => ({ arm, index, ttftMs: groupOf(arm).ttftMs }));
  const drawn = rows.filter(({ ttftMs }) => ttftMs.p99 !== undefined);
  if (drawn.length === 0) return '';
  const rowHeight = 54;
  const height = drawn.length * rowHeight + 24;
  const scale = logScale(
    drawn.flatMap(({ ttftMs }) => QUANTILES.map((q) => ttftMs[q] ?? 0)),
    WIDTH - LEFT - RIGHT,
  );
  const ticks = scale.ticks.map((tick) => {
    const x = round(LEFT + scale.at(tick));
    return `<line x1="${x}" y1="0" x2="${x}" y2="${height - 20}"/><text x="${x}" y="${height - 6}" text-anchor="middle">${shown(tick)}</text>`;
  });
  const bars = drawn.map(({ arm, index, ttftMs }, row) => {
    const top = row * rowHeight + 4;
    const own = QUANTILES.map((q, i) => {
      const value = ttftMs[q];
      if (value === undefined) return '';
      const width = Math.max(1, scale.at(value));
      const y = top + i * 15;
      return `<rect class="${colourOf(index)}" opacity="${1 - 0.25 * (2 - i)}" x="${LEFT}" y="${y}" width="${round(width)}" height="12"><title>${escaped(`${arm.arm} ${q}: ${shown(value)} ms`)}</title></rect><text x="${round(LEFT + width + 6)}" y="${y + 10}">${q} ${shown(value)}</text>`;
    });
    return `<text class="strong" x="0" y="${top + 25}">${escaped(arm.arm)}</text>${own.join('')}`;
  });
  const title = `Time to first token of ${whose}`;
  return `<h2>${escaped(title)}</h2>${figure(title, height, 'Milliseconds, logarithmic: p50, p90 and p99 of each arm.', [...ticks, ...bars].join(''))}`;
}

function ttftOverTime(arms: readonly ArmReport[]): string {
  const drawn = arms.map((arm, index) => ({ arm, index })).filter(({ arm }) => arm.quietPoints.length > 0);
  if (drawn.length === 0) return '';
  const plot = 260;
  const height = plot + 50;
  const lastMs = Math.max(...drawn.map(({ arm }) => arm.durationMs));
  const scale = logScale(
    drawn.flatMap(({ arm }) => arm.quietPoints.map(({ ttftMs }) => ttftMs)),
    plot,
  );
  const x = (atMs: number): string => round(LEFT + ((WIDTH - LEFT - RIGHT) * atMs) / lastMs);
  const y = (ms: number): string => round(10 + plot - scale.at(ms));
  const ticks = scale.ticks.map(
    (tick) =>
      `<line x1="${LEFT}" y1="${y(tick)}" x2="${WIDTH - RIGHT}" y2="${y(tick)}"/><text x="${LEFT - 8}" y="${y(tick)}" text-anchor="end" dominant-baseline="middle">${shown(tick)} ms</text>`,
  );
  const times = [0, 0.25, 0.5, 0.75, 1].map(
    (part) =>
      `<text x="${x(part * lastMs)}" y="${plot + 26}" text-anchor="middle">${shown((part * lastMs) / 1_000)} s</text>`,
  );
  const dots = drawn.map(
    ({ arm, index }) =>
      `<g class="${colourOf(index)}" opacity="0.7">${arm.quietPoints.map(({ atMs, ttftMs }) => `<circle cx="${x(atMs)}" cy="${y(ttftMs)}" r="2.5"/>`).join('')}</g>`,
  );
  const legend = drawn.map(
    ({ arm, index }, i) =>
      `<circle class="${colourOf(index)}" cx="${LEFT + i * 140}" cy="${plot + 42}" r="4"/><text x="${LEFT + 8 + i * 140}" y="${plot + 46}">${escaped(arm.arm)}</text>`,
  );
  const title = 'Time to first token of the quiet tenants over time';
  return `<h2>${title}</h2>${figure(title, height, 'Each point is a request at its arrival; the first requests are among them.', [...ticks, ...times, ...dots, ...legend].join(''))}`;
}

function tokenBars(arms: readonly ArmReport[]): string {
  const most = Math.max(1e-9, ...arms.map((arm) => arm.usefulTokensPerSecond));
  const bars = arms.map((arm, index) => {
    const width = Math.max(1, ((WIDTH - LEFT - RIGHT) * arm.usefulTokensPerSecond) / most);
    const y = index * 26 + 4;
    return `<text class="strong" x="0" y="${y + 14}">${escaped(arm.arm)}</text><rect class="${colourOf(index)}" x="${LEFT}" y="${y}" width="${round(width)}" height="18"/><text x="${round(LEFT + width + 6)}" y="${y + 14}">${shown(arm.usefulTokensPerSecond)}</text>`;
  });
  const title = 'Useful tokens a second';
  return `<h2>${title}</h2>${figure(title, arms.length * 26 + 8, 'Prompt and output tokens until the last arrival; what was thrown away does not count.', bars.join(''))}`;
}

export function htmlReport(comparison: Comparison): string {
  const { scenario, arms, ratios, warnings, notes } = comparison;
  const armSections = arms.map((arm) => {
    const { tenants, more } = tenantsShown(arm);
    return [
      `<h2>${escaped(arm.arm)}</h2>`,
      table(TENANT_COLUMNS, tenants.map(tenantCells)),
      ...(more > 0 ? [`<p class="about">and ${more} more tenants</p>`] : []),
      ...arm.notes.map((note) => `<p class="warning">${escaped(note)}</p>`),
    ].join('');
  });
  const hasQuiet = scenario.tenants.some(({ quiet }) => quiet);
  const hasOthers = scenario.tenants.some(({ quiet }) => !quiet);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escaped(scenario.name)}</title><style>${STYLE}</style></head><body>
<h1>${escaped(scenario.name)}</h1>
${scenario.description === undefined ? '' : `<p>${escaped(scenario.description)}</p>`}
<p class="about">${escaped(aboutLine(comparison))}</p>
${warnings.map((warning) => `<p class="warning">${escaped(warning)}</p>`).join('\n')}
${notes.map((note) => `<p>${escaped(note)}</p>`).join('\n')}
${arms.length > 1 ? `<h2>Ratios</h2>${table(RATIO_COLUMNS, ratios.map(ratioCells))}` : ''}
${hasQuiet ? ttftBars(arms, 'the quiet tenants', (arm) => arm.quiet) : ''}
${hasOthers ? ttftBars(arms, 'the other tenants', (arm) => arm.others) : ''}
${ttftOverTime(arms)}
${tokenBars(arms)}
<h2>Arms</h2>${table(ARM_COLUMNS, arms.map(armCells))}
${armSections.join('\n')}
<p class="read">${escaped(HOW_TO_READ)}</p>
</body></html>
`;
}
