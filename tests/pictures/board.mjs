/**
 * Draws a dashboard in the browser, about as Grafana would: its grid, titles, legends, axes and units. The page has uPlot.
 * It is given Grafana's JSON of the dashboard, and what Prometheus answered to each query.
 */

const COLOURS = [
  '#73bf69',
  '#f2cc0c',
  '#5794f2',
  '#ff780a',
  '#f2495c',
  '#b877d9',
  '#8ab8ff',
  '#ffa6b0',
  '#96d98d',
  '#ffcb7d',
  '#c0d8ff',
  '#ca95e5',
  '#e0f9d7',
  '#fade2a',
  '#56a64b',
  '#3274d9',
  '#e02f44',
  '#a352cc',
  '#e0b400',
  '#fa6400',
];
const FONT = '11px sans-serif';
const GREY = '#9fa1a8';
const [CELL, GAP, COLUMNS] = [30, 8, 24];

const scaled = (value, steps, base) => {
  let at = 0;
  let left = value;
  while (Math.abs(left) >= base && at < steps.length - 1) {
    left /= base;
    at += 1;
  }
  return [left, steps[at]];
};
const digits = (value) => {
  const size = Math.abs(value);
  const most = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return String(Number(value.toFixed(most)));
};
const withSteps = (value, steps, base) => {
  const [left, step] = scaled(value, steps, base);
  return `${digits(left)}${step}`;
};

function seconds(value) {
  const size = Math.abs(value);
  if (size === 0) return '0 s';
  if (size < 1e-3) return `${digits(value * 1e6)} µs`;
  if (size < 1) return `${digits(value * 1e3)} ms`;
  if (size < 60) return `${digits(value)} s`;
  return size < 3_600 ? `${digits(value / 60)} min` : `${digits(value / 3_600)} h`;
}

const UNITS = {
  s: seconds,
  percentunit: (value) => `${digits(value * 100)}%`,
  bytes: (value) => withSteps(value, [' B', ' KiB', ' MiB', ' GiB'], 1_024),
  reqps: (value) => `${digits(value)} req/s`,
  ops: (value) => `${digits(value)} ops/s`,
  short: (value) => withSteps(value, ['', ' K', ' Mil'], 1_000),
  none: digits,
};

function formatOf(unit) {
  const [kind, name] = unit.split(':');
  if (kind === 'si') return (value) => withSteps(value, [` ${name}`, ` k${name}`, ` M${name}`], 1_000);
  if (kind === 'suffix') return (value) => `${digits(value)} ${name}`;
  const format = UNITS[unit];
  if (format === undefined) throw new Error(`no such unit: ${unit}`);
  return format;
}

const clock = (second) => `${Math.floor(second / 60)}:${String(Math.round(second % 60)).padStart(2, '0')}`;

const element = (name, classes, text = '') => {
  const made = document.createElement(name);
  made.className = classes;
  made.textContent = text;
  return made;
};

/** Binary steps for axes of bytes, others as they are. */
const stepsOf = (unit) => (unit === 'bytes' ? { incrs: Array.from({ length: 40 }, (_, i) => 2 ** i) } : {});

/** The same name has the same colour on all panels; beside a name that has it already, the next one. */
const names = ['quiet', 'noisy', 'limited', 'spent', 'odd', 'main', 'next'];
function coloursOf(legends) {
  const taken = new Set();
  return legends.map((name) => {
    if (!names.includes(name)) names.push(name);
    let at = names.indexOf(name);
    for (let i = 0; i < COLOURS.length && taken.has(at % COLOURS.length); i += 1) at += 1;
    taken.add(at % COLOURS.length);
    return COLOURS[at % COLOURS.length];
  });
}

/** Sums from the first series on, for stacked panels; none where no series has a value. */
function stackOf(columns) {
  const sums = columns[0].map((_, i) => (columns.every((column) => column[i] === null) ? null : 0));
  return columns.map((column) =>
    column.map((value, i) => {
      if (sums[i] !== null) sums[i] += value ?? 0;
      return sums[i];
    }),
  );
}

const last = (column) => column.findLast((value) => value !== null);

function timeseries(panel, { times, series }, room) {
  const { unit, min, max, custom } = panel.fieldConfig.defaults;
  const format = formatOf(unit);
  const columns = series.map(({ values }) => values);
  const isStacked = custom?.stacking?.mode === 'normal';
  const shown = isStacked ? stackOf(columns) : columns;
  const colours = coloursOf(series.map((one) => one.legend));
  const legend = element('div', 'legend');
  series.forEach(({ legend: name }, i) => {
    const entry = element('span', 'entry', name);
    entry.style.setProperty('--colour', colours[i]);
    legend.append(entry);
  });
  room.append(legend);
  const most = Math.max(0, ...shown.flat().filter((value) => value !== null));
  const axis = { stroke: GREY, font: FONT, grid: { stroke: '#2c3035', width: 1 }, ticks: { show: false } };
  const chart = element('div', 'chart');
  room.prepend(chart);
  const { width, height } = chart.getBoundingClientRect();
  const options = {
    width,
    height,
    legend: { show: false },
    cursor: { show: false },
    scales: {
      x: { time: false },
      y: { range: () => [min ?? 0, max ?? (most === 0 ? 1 : most * 1.08)] },
    },
    axes: [
      { ...axis, size: 26, values: (_, splits) => splits.map(clock), incrs: [5, 10, 15, 30, 60, 120, 300] },
      { ...axis, size: 68, values: (_, splits) => splits.map(format), space: 34, ...stepsOf(unit) },
    ],
    series: [
      {},
      ...shown.map((_, i) => ({
        stroke: colours[i],
        width: 1.5,
        points: { show: false },
        ...(isStacked && i === 0 && { fill: `${colours[0]}66` }),
      })),
    ],
    ...(isStacked && {
      bands: shown.slice(1).map((_, i) => ({ series: [i + 2, i + 1], fill: `${colours[i + 1]}66` })),
    }),
  };
  return new uPlot(options, [times, ...shown], chart);
}

function stat(panel, { times, series }, room) {
  const [one] = series;
  const format = formatOf(panel.fieldConfig.defaults.unit);
  const value = last(one?.values ?? []);
  room.append(element('div', 'figure', value === undefined ? 'No data' : format(value)));
  if (value === undefined) return;
  const chart = element('div', 'spark');
  room.append(chart);
  const { width, height } = chart.getBoundingClientRect();
  const most = Math.max(0, ...one.values);
  const options = {
    width,
    height,
    legend: { show: false },
    cursor: { show: false },
    padding: [2, 0, 0, 0],
    scales: { x: { time: false }, y: { range: () => [0, most === 0 ? 1 : most] } },
    axes: [{ show: false }, { show: false }],
    series: [{}, { stroke: '#5794f2', fill: '#5794f233', width: 1, points: { show: false } }],
  };
  new uPlot(options, [times, one.values], chart);
}

const number = (value, unit) => (value === null || value === undefined ? '–' : formatOf(unit)(value));

/** The newest value of each series, a line each: labels, then the value. */
function table(panel, { series }, room) {
  const { unit } = panel.fieldConfig.defaults;
  const made = element('table', 'table');
  for (const { legend, values } of series) {
    const row = element('tr', '');
    row.append(element('td', '', legend), element('td', 'value', number(last(values), unit)));
    made.append(row);
  }
  room.append(made);
}

const KINDS = { timeseries, stat, table };

/** @param dashboard Grafana's JSON. @param answers by the panel's id: seconds since the beginning, and each series with its legend. */
globalThis.drawBoard = (dashboard, answers) => {
  const head = element('header', '');
  head.append(element('h1', '', dashboard.title), element('p', '', dashboard.description));
  const grid = element('main', '');
  document.body.replaceChildren(head, grid);
  const unitWidth = (grid.getBoundingClientRect().width + GAP) / COLUMNS;
  let bottom = 0;
  for (const panel of dashboard.panels) {
    const { x, y, w, h } = panel.gridPos;
    const box = element('section', panel.type);
    const height = h * CELL + (h - 1) * GAP;
    Object.assign(box.style, {
      left: `${x * unitWidth}px`,
      top: `${y * (CELL + GAP)}px`,
      width: `${w * unitWidth - GAP}px`,
      height: `${height}px`,
    });
    bottom = Math.max(bottom, y * (CELL + GAP) + height);
    grid.append(box);
    box.append(element('h2', '', panel.title));
    if (panel.type === 'row') continue;
    const room = element('div', 'room');
    box.append(room);
    const answer = answers[panel.id];
    if (answer.series.length === 0) room.append(element('div', 'nothing', 'No data'));
    else KINDS[panel.type](panel, answer, room);
  }
  grid.style.height = `${bottom}px`;
};
