/** One picture of `fairlane top`: never more lines, and none wider, than its terminal has. Pure. */
import type { StatusReport, StatusSort } from '../admin/status.ts';
import {
  cutLine,
  endpointLines,
  type Line,
  line,
  poolLines,
  problemLines,
  restLine,
  stateLine,
  tenantLines,
  totalsLine,
} from './status-view.ts';

/** What a key does. */
export type KeyAction =
  | { readonly kind: 'sort'; readonly sort: StatusSort }
  | { readonly kind: 'quit' }
  | { readonly kind: 'suspend' };

const SORT_KEYS: readonly (readonly [key: string, sort: StatusSort])[] = [
  ['w', 'waiting'],
  ['r', 'running'],
  ['s', 'requests'],
  ['t', 'tokens'],
  ['f', 'ttft'],
  ['n', 'name'],
];
const NAMES: Readonly<Record<StatusSort, string>> = {
  waiting: 'waiting',
  running: 'running',
  requests: 'req/s',
  tokens: 'tok/s',
  ttft: 'TTFT',
  name: 'name',
};
const [CTRL_C, CTRL_D, CTRL_Z] = ['\u0003', '\u0004', '\u001a'];

/** What was typed. Keys that send several characters begin with an escape, and mean nothing. */
export const actionsOf = (typed: string): readonly KeyAction[] =>
  typed.startsWith('\u001b') ? [] : Array.from(typed).flatMap((key) => actionOf(key) ?? []);

function actionOf(key: string): KeyAction | undefined {
  if (key === CTRL_C || key === CTRL_D || key.toLowerCase() === 'q') return { kind: 'quit' };
  if (key === CTRL_Z) return { kind: 'suspend' };
  const [, sort] = SORT_KEYS.find(([known]) => known === key.toLowerCase()) ?? [];
  return sort === undefined ? undefined : { kind: 'sort', sort };
}

export interface FrameState {
  readonly columns: number;
  readonly rows: number;
  readonly sort: StatusSort;
  /** Address of the service. */
  readonly where: string;
  /** Since the last answer; undefined: it has answered. */
  readonly silentMs?: number;
  /** Why it does not answer. */
  readonly problem?: string;
  /** Keys do something. */
  readonly hasKeys: boolean;
}

const keysLine = (sort: StatusSort): Line => {
  const keys = SORT_KEYS.map(([key, by]) => (by === sort ? `[${key} ${NAMES[by]}]` : `${key} ${NAMES[by]}`));
  return line(`q quit  sort: ${keys.join('  ')}`);
};

/** The first of some lines, and how many are not shown. */
function first(lines: readonly Line[], most: number): readonly Line[] {
  if (lines.length <= most) return lines;
  if (most <= 1) return lines.slice(0, Math.max(0, most));
  return [...lines.slice(0, most - 1), line(`and ${lines.length - most + 1} more`)];
}

const IDLE = 'no tenant has requests, or had any in the last minute';

export function topFrame(report: StatusReport, state: FrameState): readonly Line[] {
  const { columns, rows, sort, where, silentMs, problem, hasKeys } = state;
  const [wrong] = problemLines(report);
  const silent =
    silentMs === undefined
      ? []
      : [
          line(
            `no answer since ${Math.floor(silentMs / 1_000)} s${problem === undefined ? '' : `: ${problem}`}`,
            'bad',
          ),
        ];
  const head = [
    stateLine(report, where),
    ...silent,
    ...(wrong === undefined ? [] : [wrong]),
    totalsLine(report),
  ];
  const foot = hasKeys ? [keysLine(sort)] : [];
  const blank = line('');
  const left = rows - head.length - foot.length;
  // Pools and endpoints take no more than half of what is left: the rest is the tenants'.
  const half = Math.max(2, Math.floor(left / 2) - 2);
  const pools = first(poolLines(report.pools, columns), Math.max(2, Math.ceil(half / 2)));
  const endpoints = first(endpointLines(report.pools, columns), Math.max(2, half - pools.length));
  const above = [...head, blank, ...pools, blank, ...endpoints, blank];
  const isIdle = report.tenants.rows.length === 0;
  const tenants = isIdle ? [line(IDLE)] : tenantLines(report.tenants.rows, columns);
  const room = rows - above.length - foot.length;
  const rest = restLine(report);
  const below =
    tenants.length <= room
      ? [...tenants, ...(rest === undefined || tenants.length === room ? [] : [rest])]
      : tenants.slice(0, Math.max(0, room));
  const body = [...above, ...below].slice(0, Math.max(0, rows - foot.length));
  const space = Array.from({ length: Math.max(0, rows - foot.length - body.length) }, () => blank);
  return [...body, ...(hasKeys ? space : []), ...foot].slice(0, rows).map((one) => cutLine(one, columns));
}
