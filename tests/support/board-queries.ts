/** What the dashboards ask, as a Prometheus is asked it: variables filled in as "all" would. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const FOLDER = 'observability/grafana';

/** Place in the dashboard's grid of 24 columns. */
export interface GridPlace {
  readonly x: number;
  readonly y: number;
  readonly w: number;
  readonly h: number;
}

interface Panel {
  readonly title?: string;
  readonly type: string;
  readonly gridPos: GridPlace;
  readonly panels?: readonly Panel[];
  readonly fieldConfig?: { readonly defaults?: { readonly unit?: string } };
  readonly targets?: readonly { readonly expr?: string; readonly legendFormat?: string }[];
}

export interface BoardPanel {
  readonly title: string;
  readonly type: string;
  readonly place: GridPlace;
  readonly unit: string;
  readonly queries: readonly { readonly expr: string; readonly legend: string }[];
}

export interface Board {
  /** Its file without the ending. */
  readonly name: string;
  readonly title: string;
  readonly panels: readonly BoardPanel[];
}

interface Dashboard {
  readonly title: string;
  readonly panels: readonly Panel[];
  readonly templating?: { readonly list: readonly { readonly name: string; readonly type: string }[] };
}

/** The query with Grafana's variables filled in: all of each, and the window given. */
export const fillIn = (expr: string, window: string): string =>
  expr
    .replaceAll(/\$\{?__(?:rate_interval|range|interval)\}?/g, window)
    .replaceAll(/\$\{[a-z_]+(?::[a-z]+)?\}|\$[a-z_]+/g, '.*');

const panelsOf = (panels: readonly Panel[]): readonly Panel[] =>
  panels.flatMap((panel) => [panel, ...panelsOf(panel.panels ?? [])]);

/** All dashboards of the repository. @param window of rates, such as 15s. */
export function boards(window: string): readonly Board[] {
  return readdirSync(FOLDER)
    .filter((file) => file.endsWith('.json'))
    .toSorted()
    .map((file) => {
      const { title, panels } = JSON.parse(readFileSync(join(FOLDER, file), 'utf8')) as Dashboard;
      return {
        name: file.slice(0, -'.json'.length),
        title,
        panels: panelsOf(panels)
          .filter(({ type }) => type !== 'row' && type !== 'text')
          .map((panel) => ({
            title: panel.title ?? '',
            type: panel.type,
            place: panel.gridPos,
            unit: panel.fieldConfig?.defaults?.unit ?? 'short',
            queries: (panel.targets ?? []).map(({ expr = '', legendFormat = '' }) => ({
              expr: fillIn(expr, window),
              legend: legendFormat,
            })),
          })),
      };
    });
}
