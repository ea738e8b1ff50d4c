/**
 * The structured log: one line a request, one an event; JSON, or for people. Never a prompt, a completion or a key, and nothing that a terminal
 * or a viewer would obey: names come from clients and engines.
 */
import { type DestinationStream, pino } from 'pino';
import type { Config } from '../config/config.ts';
import { harmlessJson } from '../domain/harmless.ts';
import { moneyText } from '../domain/money.ts';
import type { UsageRecord } from '../usage/usage-record.ts';
import { LineBatch } from './line-batch.ts';
import { prettyLine } from './pretty-line.ts';
import type { ServiceEvent, Telemetry } from './telemetry.ts';

export interface Log extends Telemetry {
  setLevel(level: Config['log']['level']): void;
}

export interface LogDestination extends DestinationStream {
  /** Writes what it has kept back to write it together. Absent: it keeps nothing back. */
  flush?(): void;
}

const SERVICE = 'fairlane';
/** Lines of requests are written together, so long after the first of them at the latest. */
const BATCH_MS = 10;

/** Without waiting for the reader. What is kept back when the process exits is written first. */
export function stdoutLog(): LogDestination {
  const stdout = pino.destination({ fd: 1, sync: false });
  const batch = new LineBatch(
    (lines) => void stdout.write(lines),
    (flush) => void setTimeout(flush, BATCH_MS).unref(),
  );
  const flush = (): void => batch.flush();
  // Before the listener of the destination, which writes what it has and waits for it.
  process.prependListener('exit', flush);
  return { write: (line) => batch.add(line), flush };
}

/** How lines look. JSON is for programs, the other for people. */
export interface LogStyle {
  readonly isPretty: boolean;
  /** With escape sequences; of pretty lines. */
  readonly colour: boolean;
}

export function createLog(
  level: Config['log']['level'],
  destination: LogDestination,
  { isPretty, colour }: LogStyle = { isPretty: false, colour: false },
): Log {
  const styled = isPretty ? (line: string): string => prettyLine(line, colour) : (line: string) => line;
  const write = (line: string): void => destination.write(styled(harmlessJson(line)));
  const log = pino(
    {
      level,
      base: { service: SERVICE },
      timestamp: pino.stdTimeFunctions.isoTime,
      messageKey: 'message',
      formatters: { level: (label) => ({ level: label }) },
    },
    { write },
  );
  return {
    setLevel(next) {
      log.level = next;
    },
    requestEnded(record) {
      if (log.isLevelEnabled('info')) write(requestLine(record));
    },
    event(event) {
      const { kind, ...fields } = event;
      log[severityOf(event)](fields, kind);
      destination.flush?.();
    },
  };
}

/** All that a record may have is in its line. */
type Logged = Readonly<Record<'level' | 'time' | 'service' | 'message' | keyof UsageRecord, unknown>>;

const round = (ms: number): number => Math.round(ms * 100) / 100;

/** As pino writes it, in one piece: there is one for each request. What is undefined is left out. */
function requestLine(record: UsageRecord): string {
  const { ttftMs, itlMeanMs, itlMaxMs, droppedFields } = record;
  const line = JSON.stringify({
    level: 'info',
    time: new Date().toISOString(),
    service: SERVICE,
    requestId: record.requestId,
    id: record.id,
    endedMs: record.endedMs,
    clientRequestId: record.clientRequestId,
    traceId: record.traceId,
    tenant: record.tenant,
    tier: record.tier,
    keyId: record.keyId,
    tag: record.tag,
    route: record.route,
    customRoute: record.customRoute,
    model: record.model,
    modelAsked: record.modelAsked,
    adapter: record.adapter,
    pool: record.pool,
    endpoint: record.endpoint,
    address: record.address,
    engine: record.engine,
    lane: record.lane,
    stream: record.stream,
    quiet: record.quiet,
    stalled: record.stalled,
    outcome: record.outcome,
    reason: record.reason,
    status: record.status,
    promptTokens: record.promptTokens,
    completionTokens: record.completionTokens,
    cachedTokens: record.cachedTokens,
    reasoningTokens: record.reasoningTokens,
    audioSeconds: record.audioSeconds,
    images: record.images,
    usageSource: record.usageSource,
    estimated: record.estimated,
    oddUsage: record.oddUsage,
    queueMs: round(record.queueMs),
    ttftMs: ttftMs === undefined ? undefined : round(ttftMs),
    itlMeanMs: itlMeanMs === undefined ? undefined : round(itlMeanMs),
    itlMaxMs: itlMaxMs === undefined ? undefined : round(itlMaxMs),
    prefillMs: record.prefillMs === undefined ? undefined : round(record.prefillMs),
    decodeMs: record.decodeMs === undefined ? undefined : round(record.decodeMs),
    durationMs: round(record.durationMs),
    kvTokenSeconds: record.kvTokenSeconds === undefined ? undefined : round(record.kvTokenSeconds),
    gpuSeconds: record.gpuSeconds,
    cost: record.cost && moneyText(record.cost),
    price: record.price && moneyText(record.price),
    retries: record.retries,
    preemptions: record.preemptions,
    droppedFields: droppedFields.length > 0 ? droppedFields : undefined,
    message: 'request',
  } satisfies Logged);
  return `${line}\n`;
}

/** What somebody must act on is an error; what is worse than before and may end by itself, a warning. */
function severityOf(event: ServiceEvent): 'info' | 'warn' | 'error' {
  const warnIf = (isBad: boolean): 'info' | 'warn' => (isBad ? 'warn' : 'info');
  switch (event.kind) {
    case 'config-refused':
    case 'limits-refused':
    case 'tenant-file-refused':
    case 'tenant-kept-out':
    case 'filter-misconfigured':
    case 'stream-failed':
    case 'ledger-lost':
      return 'error';
    case 'endpoint-health':
      return warnIf(!event.healthy);
    case 'engine-refuses':
      return warnIf(event.refuses);
    case 'endpoint-drain':
      return warnIf(event.last);
    case 'endpoint-ejected':
      return warnIf(event.ejected);
    case 'tenant-limited':
      return warnIf(event.limited);
    case 'model-broken':
      return warnIf(event.broken);
    case 'limits-loaded':
      return warnIf(event.warnings !== undefined);
    case 'redis':
    case 'tenant-store':
      return warnIf(!event.connected);
    case 'ledger-away':
      return warnIf(event.away);
    case 'engine-gauges':
      return warnIf(!event.usable);
    case 'webhook':
    case 'traces':
    case 'tenants-not-in-force':
      return warnIf(event.failing);
    case 'budget-alert':
    case 'webhook-dropped':
    case 'engine-usage-odd':
    case 'adapter-failed':
    case 'canary-rolled-back':
    case 'snapshot-failed':
    case 'dns-failed':
    case 'tenants-copy-failed':
    case 'admin-refused':
      return 'warn';
    case 'limit-raise-ended':
    case 'config-reloaded':
    case 'envoy-refused':
    case 'tenant-file-mended':
    case 'tenant-changed':
    case 'models-discovered':
    case 'engine-help':
    case 'adapter-loaded':
    case 'adapter-unloaded':
    case 'engine-identified':
    case 'draining':
    case 'drained':
      return 'info';
  }
}
