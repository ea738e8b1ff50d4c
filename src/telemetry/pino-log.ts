/**
 * The structured log: one JSON line a request, one an event. Never a prompt, a completion or a key, and nothing that a terminal
 * or a viewer would obey: names come from clients and engines.
 */
import { type DestinationStream, pino } from 'pino';
import type { Config } from '../config/config.ts';
import { harmlessJson } from '../domain/harmless.ts';
import type { Telemetry } from './telemetry.ts';

export interface Log extends Telemetry {
  setLevel(level: Config['log']['level']): void;
}

/** Written as it comes, without waiting for the reader. */
export const stdoutLog = (): DestinationStream => pino.destination({ fd: 1, sync: false });

export function createLog(level: Config['log']['level'], destination: DestinationStream): Log {
  const log = pino(
    {
      level,
      base: { service: 'fairlane' },
      timestamp: pino.stdTimeFunctions.isoTime,
      messageKey: 'message',
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (line) => destination.write(harmlessJson(line)) },
  );
  const round = (ms: number): number => Math.round(ms * 100) / 100;

  return {
    setLevel(next) {
      log.level = next;
    },
    requestEnded(record) {
      const { droppedFields, queueMs, ttftMs, itlMeanMs, itlMaxMs, durationMs, ...rest } = record;
      log.info(
        {
          ...rest,
          queueMs: round(queueMs),
          ...(ttftMs !== undefined && { ttftMs: round(ttftMs) }),
          ...(itlMeanMs !== undefined && { itlMeanMs: round(itlMeanMs) }),
          ...(itlMaxMs !== undefined && { itlMaxMs: round(itlMaxMs) }),
          durationMs: round(durationMs),
          ...(droppedFields.length > 0 && { droppedFields }),
        },
        'request',
      );
    },
    event(event) {
      const { kind, ...fields } = event;
      switch (event.kind) {
        case 'config-refused':
        case 'limits-refused':
        case 'filter-misconfigured':
        case 'stream-failed':
          log.error(fields, kind);
          break;
        case 'endpoint-health':
          if (event.healthy) log.info(fields, kind);
          else log.warn(fields, kind);
          break;
        case 'endpoint-drain':
          if (event.last) log.warn(fields, kind);
          else log.info(fields, kind);
          break;
        case 'endpoint-ejected':
          if (event.ejected) log.warn(fields, kind);
          else log.info(fields, kind);
          break;
        case 'tenant-limited':
          if (event.limited) log.warn(fields, kind);
          else log.info(fields, kind);
          break;
        case 'model-broken':
          if (event.broken) log.warn(fields, kind);
          else log.info(fields, kind);
          break;
        case 'redis':
          if (event.connected) log.info(fields, kind);
          else log.warn(fields, kind);
          break;
        case 'engine-gauges':
          if (event.usable) log.info(fields, kind);
          else log.warn(fields, kind);
          break;
        case 'adapter-failed':
        case 'canary-rolled-back':
        case 'snapshot-failed':
        case 'dns-failed':
          log.warn(fields, kind);
          break;
        case 'config-reloaded':
        case 'limits-loaded':
        case 'models-discovered':
        case 'engine-help':
        case 'adapter-loaded':
        case 'adapter-unloaded':
        case 'engine-identified':
        case 'draining':
        case 'drained':
          log.info(fields, kind);
          break;
      }
    },
  };
}
