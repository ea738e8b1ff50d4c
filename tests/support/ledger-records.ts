/** Usage records of nobody's requests. */
import type { UsageRecord } from '../../src/usage/usage-record.ts';

/** Ids in the order of their numbers. @param more what it has besides. */
export const ledgerRecord = (number: number, more: Partial<UsageRecord> = {}): UsageRecord => ({
  id: `id-${String(number).padStart(9, '0')}`,
  endedMs: Date.UTC(2026, 10, 5, 12) + number,
  requestId: `request-${number}`,
  tenant: `tenant-${number % 3}`,
  keyId: `key-${number % 2}`,
  route: 'chat.completions',
  model: 'llama',
  pool: 'main',
  stream: true,
  outcome: 'completed',
  status: 200,
  queueMs: 1,
  durationMs: 100,
  promptTokens: 10,
  completionTokens: 5,
  cachedTokens: 2,
  usageSource: 'engine',
  gpuSeconds: 0.25,
  cost: { currency: 'EUR', pico: 1_000_000_001n },
  price: { currency: 'EUR', pico: 3n },
  quiet: false,
  stalled: false,
  droppedFields: [],
  ...more,
});
