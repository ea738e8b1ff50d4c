/** The line of a request in the log: what its record has, and no more. */
import { describe, expect, it } from 'vitest';
import { createLog } from '../../../src/telemetry/pino-log.ts';
import type { UsageRecord } from '../../../src/usage/usage-record.ts';

const LEAST: UsageRecord = {
  requestId: 'r',
  tenant: 'a',
  route: 'chat.completions',
  stream: false,
  outcome: 'refused',
  queueMs: 0,
  durationMs: 1.23456,
  promptTokens: 0,
  completionTokens: 0,
  cachedTokens: 0,
  usageSource: 'none',
  quiet: false,
  stalled: false,
  droppedFields: [],
};
const MOST: Required<UsageRecord> = {
  ...LEAST,
  id: '01930000-0000-7000-8000-000000000001',
  endedMs: 1_800_000_000_000,
  clientRequestId: 'mine',
  traceId: '4bf92f3577b34da6a3ce929d0e0e4736',
  tier: 'gold',
  keyId: 'cfg_0123456789ab',
  tag: 'research',
  customRoute: 'own',
  model: 'm',
  modelAsked: 'alias',
  adapter: 'legal',
  pool: 'main',
  endpoint: 'http://10.0.0.1:8000',
  address: '10.0.0.1:8000',
  engine: 'vllm',
  lane: 'default',
  reason: 'engine',
  status: 200,
  ttftMs: 4.5678,
  itlMeanMs: 0.001,
  itlMaxMs: 2,
  prefillMs: 1.23456,
  decodeMs: 6.54321,
  reasoningTokens: 3,
  kvTokenSeconds: 10.987,
  gpuSeconds: 0.123456789,
  cost: { currency: 'EUR', pico: 1_234_500_000n },
  price: { currency: 'EUR', pico: 2_500_000_000_000n },
  retries: 1,
  preemptions: 2,
  audioSeconds: 1.5,
  images: 2,
  usageSource: 'estimate',
  estimated: 'prompt',
  oddUsage: ['zero-prompt'],
  droppedFields: ['priority'],
};

function logged(record: UsageRecord, level: 'info' | 'warn' = 'info') {
  const said: string[] = [];
  createLog(level, { write: (line: string) => void said.push(line) }).requestEnded(record);
  return said;
}

const read = (record: UsageRecord): Record<string, unknown> =>
  JSON.parse(logged(record)[0] ?? '') as Record<string, unknown>;

describe('the line of a request', () => {
  it('has the members of its record that are there, and times to a hundredth of a millisecond', () => {
    const { droppedFields: _, ...told } = LEAST;
    const line = read(LEAST);
    expect(line).toEqual({
      ...told,
      level: 'info',
      time: line['time'],
      service: 'fairlane',
      message: 'request',
      durationMs: 1.23,
    });
  });

  it('has all that a record may have', () => {
    const line = read(MOST);
    expect(line).toEqual({
      ...MOST,
      level: 'info',
      time: line['time'],
      service: 'fairlane',
      message: 'request',
      durationMs: 1.23,
      ttftMs: 4.57,
      itlMeanMs: 0,
      prefillMs: 1.23,
      decodeMs: 6.54,
      kvTokenSeconds: 10.99,
      cost: '0.0012345 EUR',
      price: '2.50 EUR',
    });
  });

  it('begins and ends as those of events do', () => {
    const [line = ''] = logged(MOST);
    expect(line).toMatch(
      /^\{"level":"info","time":"\d{4}-\d\d-\d\dT[\d:.]+Z","service":"fairlane","requestId":"r",/,
    );
    expect(line.endsWith(',"message":"request"}\n')).toBe(true);
  });

  it('is harmless, whatever a client has named', () => {
    const [line = ''] = logged({ ...LEAST, clientRequestId: '\u001b[31m\u202e\n' });
    expect(line).not.toMatch(/[\p{C}\p{Zl}\p{Zp}](?!$)/u);
    expect(JSON.parse(line)).toMatchObject({ clientRequestId: '\\u001b[31m\\u202e\\n' });
  });

  it('is not there at a level that has none', () => {
    expect(logged(MOST, 'warn')).toEqual([]);
  });
});

describe('a log that keeps lines back', () => {
  it('writes an event at once, and with it what came before', () => {
    const said: string[] = [];
    const log = createLog('info', {
      write: (line: string) => void said.push((JSON.parse(line) as { message: string }).message),
      flush: () => void said.push('flush'),
    });
    log.requestEnded(LEAST);
    log.event({ kind: 'draining', deadlineMs: 1 });
    expect(said).toEqual(['request', 'draining', 'flush']);
  });
});
