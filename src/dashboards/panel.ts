/** Dashboards as data, and as the JSON that Grafana imports (schema version 39). */

/** As Grafana calls them; `si:` makes one of a name, with k and M before it. */
export type Unit = 's' | 'reqps' | 'short' | 'percentunit' | 'bytes' | 'ops' | 'none' | `si:${string}`;

export interface Query {
  /** PromQL, with Grafana's variables. */
  readonly expr: string;
  /** `{{label}}` stands for a label's value. */
  readonly legend: string;
}

export interface Panel {
  readonly title: string;
  /** What it says, and what to do about it. */
  readonly description: string;
  readonly kind: 'timeseries' | 'stat' | 'bargauge';
  readonly unit: Unit;
  readonly queries: readonly Query[];
  /** Of 24 columns. */
  readonly width: number;
  readonly max?: number;
  readonly isStacked?: boolean;
}

/** Three in a row. */
export const THIRD = { width: 8 } as const;

interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

/** Names of variables, each with the metric that has the label. */
type Variables = Readonly<Record<string, string>>;

export interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  readonly variables: Variables;
  readonly rows: readonly Row[];
}

const SCHEMA_VERSION = 39;
const COLUMNS = 24;
const PANEL_HEIGHT = 8;
const STAT_HEIGHT = 4;
const SOURCE = { type: 'prometheus', uid: '${source}' } as const;

const optionsOf = ({ kind }: Panel): object =>
  kind === 'timeseries'
    ? {
        legend: { displayMode: 'list', placement: 'bottom', showLegend: true },
        tooltip: { mode: 'multi', sort: 'desc' },
      }
    : { reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false }, colorMode: 'none' };

const customOf = ({ kind, isStacked = false }: Panel): object =>
  kind === 'timeseries'
    ? {
        custom: {
          drawStyle: 'line',
          lineWidth: 2,
          fillOpacity: isStacked ? 40 : 0,
          showPoints: 'never',
          stacking: { mode: isStacked ? 'normal' : 'none', group: 'A' },
        },
      }
    : {};

const panelJson = (panel: Panel, id: number, x: number, y: number, height: number): object => ({
  id,
  type: panel.kind,
  title: panel.title,
  description: panel.description,
  datasource: SOURCE,
  gridPos: { x, y, w: panel.width, h: height },
  fieldConfig: {
    defaults: {
      unit: panel.unit,
      // The same name has the same colour on each panel.
      color: { mode: 'palette-classic-by-name' },
      min: 0,
      ...(panel.max !== undefined && { max: panel.max }),
      ...customOf(panel),
    },
    overrides: [],
  },
  options: optionsOf(panel),
  targets: panel.queries.map(({ expr, legend }, i) => ({
    refId: String.fromCodePoint('A'.codePointAt(0)! + i),
    datasource: SOURCE,
    expr,
    legendFormat: legend,
    editorMode: 'code',
    range: true,
  })),
});

function panelsJson(rows: readonly Row[]): readonly object[] {
  const made: object[] = [];
  let y = 0;
  for (const { title, panels } of rows) {
    const gridPos = { x: 0, y, w: COLUMNS, h: 1 };
    made.push({ id: made.length + 1, type: 'row', title, collapsed: false, panels: [], gridPos });
    y += 1;
    let [x, height] = [0, 0];
    for (const panel of panels) {
      if (x + panel.width > COLUMNS) {
        y += height;
        [x, height] = [0, 0];
      }
      const own = panel.kind === 'stat' ? STAT_HEIGHT : PANEL_HEIGHT;
      made.push(panelJson(panel, made.length + 1, x, y, own));
      x += panel.width;
      height = Math.max(height, own);
    }
    y += height;
  }
  return made;
}

const variableJson = (name: string, metric: string): object => ({
  name,
  label: name,
  type: 'query',
  datasource: SOURCE,
  query: { query: `label_values(${metric}, ${name})`, refId: name },
  definition: `label_values(${metric}, ${name})`,
  includeAll: true,
  multi: true,
  allValue: '.*',
  current: { text: ['All'], value: ['$__all'] },
  refresh: 2,
  sort: 1,
});

/** The text of a file that Grafana imports or is provisioned with. */
export function grafanaJson({ uid, title, description, variables, rows }: Dashboard): string {
  const dashboard = {
    uid,
    title,
    description,
    tags: ['fairlane'],
    schemaVersion: SCHEMA_VERSION,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: '10s',
    time: { from: 'now-30m', to: 'now' },
    timezone: 'browser',
    templating: {
      list: [
        { name: 'source', label: 'source', type: 'datasource', query: 'prometheus', current: {} },
        ...Object.entries(variables).map(([name, metric]) => variableJson(name, metric)),
      ],
    },
    annotations: { list: [] },
    links: [{ type: 'dashboards', title: 'Fairlane', tags: ['fairlane'], asDropdown: true, keepTime: true }],
    panels: panelsJson(rows),
  };
  return `${JSON.stringify(dashboard, undefined, 2)}\n`;
}

/** A panel of one kind, half as wide as the page where nothing else is said. */
export const lines = (
  title: string,
  unit: Unit,
  description: string,
  queries: readonly Query[],
  more: Partial<Panel> = {},
): Panel => ({ kind: 'timeseries', title, unit, description, queries, width: 12, ...more });

export const figure = (
  title: string,
  unit: Unit,
  description: string,
  expr: string,
  more: Partial<Panel> = {},
): Panel => ({
  kind: 'stat',
  title,
  unit,
  description,
  queries: [{ expr, legend: title }],
  width: 6,
  ...more,
});
