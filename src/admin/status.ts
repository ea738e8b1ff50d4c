/** What `GET /status` answers: one moment of the service, as `fairlane status` and `fairlane top` show it. docs/reference/status.md is made of it. */
import { z } from 'zod';

/** Rises when a member gets another meaning or goes. New members come without. */
export const STATUS_VERSION = 1;

const object = <Shape extends z.ZodRawShape>(shape: Shape) => z.object(shape).readonly();
const list = <Item extends z.ZodType>(item: Item) => z.array(item).readonly();
const count = z.number();
const text = z.string();

const rates = {
  requestsPerSecond: z.number().describe('Requests that ended, however they ended; mean of the last 10 s.'),
  refusalsPerSecond: z.number().describe('Of those, the ones that Fairlane refused itself.'),
  tokensPerSecond: z
    .number()
    .describe('Prompt and output tokens of requests that ended; mean of the last 10 s.'),
};

const ttft = {
  ttftP50Ms: z
    .number()
    .optional()
    .describe('Median time to first token of streams that ended in the last minute, within 10 %.'),
  ttftP99Ms: z.number().optional().describe('The same, of which 1 in 100 was longer.'),
};

const limit = object({
  limit: count.describe('What is configured: a minute’s, or a month’s.'),
  left: count.describe('As this replica last saw it, refilled since.'),
  resetMs: count.describe('Until it is full again, or the month ends.'),
});

const budget = object({
  limit: text.describe('What is configured, such as `500.00 EUR`.'),
  left: text.describe('As this replica last saw it, exact to 10^-9 of the unit.'),
  refuses: z.boolean().describe('Requests are refused when nothing is left (`onBudgetSpent`).'),
  resetMs: count.describe('Until the month ends.'),
});

const endpoint = object({
  name: text.describe(
    'Its URL as configured, with `#ip` where its name has several addresses: `endpoint` of metrics, the log and records.',
  ),
  address: text.optional().describe('`ip:port` that its name stands for; absent: the URL has it.'),
  engine: text.optional().describe('What it runs, while that is known.'),
  state: text.describe('What its probes say, in words.'),
  serving: z.boolean().describe('It gets new requests.'),
  healthy: z.boolean().describe('Its probes succeed.'),
  ejected: z.boolean().describe('Kept out because requests failed there.'),
  draining: z.boolean().describe('It gets no new requests, by the configuration or a command.'),
  broken: list(text).describe('Models that are broken there.'),
  inFlight: count.describe('Requests.'),
  sequences: count.describe('Sequences of those: one for each output.'),
  concurrencyLimit: count.describe('Sequences that it may have in flight; this replica’s part.'),
  limitBy: text.describe('What the limit goes by: fixed, gauges or ttft.'),
  kvTokens: count.describe('KV cache tokens that what is in flight is thought to need.'),
  kvCapacityTokens: count.optional().describe('Tokens that its KV cache holds, where it says.'),
  gauges: object({
    running: count.describe('Sequences in the engine’s batch.'),
    waiting: count.describe('Requests in the engine’s own queue.'),
    kvUsage: z.number().optional().describe('Part of the KV cache in use, 0 to 1.'),
  })
    .optional()
    .describe('What the engine said of itself last.'),
  gaugesProblem: text.optional().describe('Why its gauges cannot be used.'),
  adapters: object({ loaded: count, loading: count }).optional().describe('LoRA adapters that it has.'),
});

const pool = object({
  name: text,
  mirror: z.boolean().describe('It gets copies only: nobody sees its answers.'),
  healthy: count.describe('Endpoints whose probes succeed.'),
  serving: count.describe('Endpoints that get new requests.'),
  inFlight: count.describe('Requests.'),
  sequences: count.describe('Sequences in flight at endpoints that serve.'),
  concurrencyLimit: count.describe('Sequences that endpoints that serve may have in flight.'),
  headroom: count.describe('Slots of the limit that are kept free for tenants below their fair share.'),
  waiting: count.describe('Requests in its queue.'),
  saturation: z
    .number()
    .describe(
      '`sequences` ÷ `concurrencyLimit`, at most 1; 1 where anybody waits for a slot or nothing serves. Who waits only because of `maxConcurrent` does not count.',
    ),
  lanes: list(
    object({ name: text, inFlight: count.describe('Sequences.'), waiting: count.describe('Requests.') }),
  ),
  endpoints: list(endpoint),
});

const queueRow = object({
  pool: text,
  lane: text,
  tenant: text,
  waiting: count.describe('Requests.'),
  oldestMs: count.describe('How long the one that came first has waited.'),
});

const tenant = object({
  name: text.describe('As in metrics: tenants that come with tokens share one name.'),
  tier: text.optional(),
  weight: z.number().optional().describe('In the fair queue; absent where the row is of several tenants.'),
  inFlight: count.describe('Requests in the engines.'),
  waiting: count.describe('Requests in the queue.'),
  ...rates,
  ...ttft,
  maxConcurrent: count.optional().describe('Most requests in the engines at once.'),
  requests: limit.optional().describe('`requestsPerMinute`, where it has one.'),
  tokens: limit.optional().describe('`tokensPerMinute`, where it has one.'),
  month: limit.optional().describe('`tokensPerMonth`, where it has one.'),
  budget: budget.optional().describe('`budgetPerMonth`, where it has one.'),
  lastEndedAt: text.optional().describe('When its last request ended, if that was in the last minute.'),
});

const model = object({
  name: text,
  kind: z
    .enum(['configured', 'discovered', 'adapter'])
    .describe('From `models`, announced by an engine, or a LoRA adapter.'),
  pool: text.optional().describe('Absent: nothing serves it now.'),
  aliases: list(text).describe('Other names that lead to it.'),
  contextTokens: count
    .optional()
    .describe('Prompt and output that fit, as its engines say; the least of them.'),
  fallback: list(text).describe('What serves in its place when it cannot.'),
  canary: object({
    model: text,
    weight: z.number().describe('Part of the requests that it has now, 0 to 1.'),
    rolledBack: text.optional().describe('Why it was.'),
  }).optional(),
  mirror: object({
    pool: text,
    fraction: z.number().describe('Part of the requests, 0 to 1.'),
    running: count.describe('Copies that are thought to run.'),
  }).optional(),
  base: text.optional().describe('Of an adapter: the model that it adapts.'),
  loaded: list(object({ endpoint: text, inFlight: count }))
    .optional()
    .describe('Of an adapter: the endpoints that have it.'),
});

const since = text.describe('ISO 8601.');

export const statusSchema = object({
  version: z.literal(STATUS_VERSION).describe('Of this document’s meaning.'),
  at: text.describe('When it was made: ISO 8601. It may be 200 ms old.'),
  startedAt: text.describe('When the service started: ISO 8601.'),
  status: z.enum(['ok', 'degraded', 'draining']).describe('As `/health` says it.'),
  reasons: list(text).describe('Why it is degraded.'),
  config: object({
    file: text.optional(),
    inUseSince: text.describe('When the configuration in use was taken over: ISO 8601.'),
    refused: list(object({ file: text, since, problems: list(text) })).describe(
      'Files that are not in use as they are now: what they said before is.',
    ),
    refusedTenantFiles: list(
      object({
        file: text,
        since,
        problem: text,
        kept: z.boolean().describe('Its tenant is served as it said before.'),
      }),
    ).describe('Of `tenantDirectory`; at most 100.'),
  }),
  redis: object({
    connected: z.boolean(),
    leasedTokens: count.describe('In the leases of this replica.'),
  })
    .optional()
    .describe('Only where one is configured.'),
  totals: object({
    streams: count.describe('Requests that Envoy has open here.'),
    inFlight: count.describe('Requests in the engines.'),
    waiting: count.describe('Requests in the queue.'),
    ...rates,
    ...ttft,
  }),
  pools: list(pool),
  queue: object({
    rows: list(queueRow).describe(
      'By pool, lane and tenant: those with the most first, as many as `tenants` says.',
    ),
    rest: object({ rows: count, waiting: count }).describe('Those that are not shown.'),
  }),
  tenants: object({
    configured: count,
    active: count.describe('Names with requests now, or in the last minute.'),
    sort: text.describe('What the rows are sorted by.'),
    rows: list(tenant),
    rest: object({ tenants: count, inFlight: count, waiting: count, ...rates }).describe(
      'Sums over those that are not shown.',
    ),
  }),
  models: list(model).optional().describe('With `?models=on`; at most 10,000.'),
});

export type StatusReport = z.infer<typeof statusSchema>;
export type PoolStatus = StatusReport['pools'][number];
export type EndpointStatusRow = PoolStatus['endpoints'][number];
export type TenantStatus = StatusReport['tenants']['rows'][number];
export type QueueStatus = StatusReport['queue']['rows'][number];
export type ModelStatus = NonNullable<StatusReport['models']>[number];

export const STATUS_SORTS = ['waiting', 'running', 'requests', 'tokens', 'ttft', 'name'] as const;
export type StatusSort = (typeof STATUS_SORTS)[number];

export interface StatusQuery {
  /** Rows of tenants, and of the queue. */
  readonly tenants: number;
  readonly sort: StatusSort;
  /** Tenants without requests too. */
  readonly idle: boolean;
  readonly models: boolean;
}

/** What is left of limits is looked up for each row. */
export const MOST_TENANT_ROWS = 1_000;
export const DEFAULT_STATUS_QUERY: StatusQuery = {
  tenants: 100,
  sort: 'waiting',
  idle: false,
  models: false,
};

type ReadQuery =
  | { readonly kind: 'query'; readonly query: StatusQuery }
  | { readonly kind: 'bad'; readonly problem: string };

const isSort = (name: string): name is StatusSort => STATUS_SORTS.some((sort) => sort === name);

/** Reads the part of a URL behind `?`. */
export function statusQueryOf(search: string): ReadQuery {
  let query = DEFAULT_STATUS_QUERY;
  for (const [name, value] of new URLSearchParams(search)) {
    if (name === 'tenants') {
      if (!/^\d{1,6}$/.test(value) || Number(value) > MOST_TENANT_ROWS) {
        return { kind: 'bad', problem: `tenants is a whole number from 0 to ${MOST_TENANT_ROWS}` };
      }
      query = { ...query, tenants: Number(value) };
    } else if (name === 'sort') {
      if (!isSort(value)) return { kind: 'bad', problem: `sort is one of ${STATUS_SORTS.join(', ')}` };
      query = { ...query, sort: value };
    } else if (name === 'idle' || name === 'models') {
      if (value !== 'on' && value !== 'off') return { kind: 'bad', problem: `${name} is on or off` };
      query = { ...query, [name]: value === 'on' };
    } else
      return { kind: 'bad', problem: 'there are tenants, sort, idle and models, and no other parameters' };
  }
  return { kind: 'query', query };
}

export const statusPath = ({ tenants, sort, idle, models }: StatusQuery): string =>
  `/status?tenants=${tenants}&sort=${sort}${idle ? '&idle=on' : ''}${models ? '&models=on' : ''}`;
