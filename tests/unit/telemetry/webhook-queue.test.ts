import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { headersOf, messageOf, topicOf } from '../../../src/telemetry/webhook-message.ts';
import { GIVE_UP_MS, retryAfterMs, WebhookQueue } from '../../../src/telemetry/webhook-queue.ts';

const event = (id: string, body = '{}') => ({ id, body });
const FAILED = { kind: 'failed', problem: 'answered 500', isRejected: false } as const;
const REJECTED = { ...FAILED, isRejected: true } as const;
const queue = (): WebhookQueue => new WebhookQueue(() => 1);

describe('a queue of events', () => {
  it('has one under way at most, those first that are due for longest', () => {
    const of = queue();
    of.add(event('a'), 0);
    of.add(event('b'), 1);
    expect(of.next(1)?.id).toBe('a');
    expect(of.next(1)).toBeUndefined();
    expect(of.dueMs()).toBeUndefined();
    expect(of.ended({ kind: 'delivered' }, 2)).toBe(0);
    expect(of.next(2)?.id).toBe('b');
    of.ended({ kind: 'delivered' }, 2);
    expect([of.next(9), of.size, of.dueMs()]).toEqual([undefined, 0, undefined]);
  });

  it('tries again after 1, 2, 4 … s, an hour at most, of which the second half is random', () => {
    expect([1, 2, 3, 12, 13, 1_000].map((tries) => retryAfterMs(tries, 1))).toEqual([
      1_000, 2_000, 4_000, 2_048_000, 3_600_000, 3_600_000,
    ]);
    expect(retryAfterMs(3, 0)).toBe(2_000);
  });

  it('tries with the same id for a day, and gives up then', () => {
    const of = queue();
    of.add(event('a'), 0);
    let tries = 0;
    for (let nowMs = 0; of.size > 0; nowMs = of.dueMs() ?? nowMs) {
      expect(of.next(nowMs)?.id).toBe('a');
      tries += 1;
      if (of.ended(FAILED, nowMs) === 1) expect(nowMs).toBeGreaterThan(GIVE_UP_MS - 2 * 3_600_000);
    }
    expect(tries).toBeGreaterThan(20);
    expect(tries).toBeLessThan(60);
  });

  it('waits as long as the receiver asks for, an hour at most', () => {
    const of = queue();
    of.add(event('a'), 0);
    of.next(0);
    of.ended({ ...FAILED, retryAfterMs: 60_000 }, 0);
    expect(of.dueMs()).toBe(60_000);
    of.next(60_000);
    of.ended({ ...FAILED, retryAfterMs: 1e9 }, 60_000);
    expect(of.dueMs()).toBe(60_000 + 3_600_000);
  });

  it('goes on with the others while one fails; one that arrives makes those due that a broken receiver held up', () => {
    const of = queue();
    for (const id of ['a', 'b', 'c']) of.add(event(id), 0);
    of.next(0);
    of.ended(FAILED, 0);
    of.next(0);
    of.ended(REJECTED, 0);
    expect(of.next(0)?.id).toBe('c');
    of.ended({ kind: 'delivered' }, 5);
    expect(of.next(5)?.id).toBe('a');
    of.ended({ kind: 'delivered' }, 5);
    // It was refused for what it is: it has its own time.
    expect(of.dueMs()).toBe(1_000);
  });

  it('drops all when the receiver is gone', () => {
    const of = queue();
    for (const id of ['a', 'b', 'c']) of.add(event(id), 0);
    of.next(0);
    expect(of.ended({ kind: 'gone' }, 0)).toBe(3);
    expect(of.size).toBe(0);
  });

  it('is bounded in events and bytes, and says what it dropped', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 5_000_000 }), { maxLength: 30 }), (sizes) => {
        const of = queue();
        let [added, dropped] = [0, 0];
        for (const size of sizes) {
          added += 1;
          dropped += of.add(event(String(added), 'x'.repeat(size)), 0);
        }
        expect(of.size).toBe(added - dropped);
      }),
      { numRuns: 20 },
    );
    const of = queue();
    let dropped = 0;
    for (let i = 0; i < 1_500; i += 1) dropped += of.add(event(String(i)), i);
    expect([of.size, dropped, of.next(2_000)?.id]).toEqual([1_000, 500, '500']);
  });
});

describe('a message', () => {
  const alert = {
    kind: 'budget-alert',
    id: 'evt_same',
    tenant: 'a\u202e',
    limit: 'budget',
    percent: 80,
    used: '80.00 EUR',
    of: '100.00 EUR',
    month: '2026-11',
    refusing: false,
  } as const;

  it('has type, time, id and data, and nothing that a viewer would obey', () => {
    const { id, body } = messageOf(alert, 'evt_other', Date.UTC(2026, 10, 28));
    expect(id).toBe('evt_same');
    expect(JSON.parse(body)).toEqual({
      type: 'budget.budget-alert',
      timestamp: '2026-11-28T00:00:00.000Z',
      id: 'evt_same',
      data: {
        tenant: 'a\\u202e',
        limit: 'budget',
        percent: 80,
        used: '80.00 EUR',
        of: '100.00 EUR',
        month: '2026-11',
        refusing: false,
      },
    });
    const other = messageOf({ kind: 'redis', connected: false }, 'evt_other', 0);
    expect([other.id, JSON.parse(other.body)]).toMatchObject(['evt_other', { data: { connected: false } }]);
  });

  it('is signed over id, time of the try, and body', () => {
    const secret = Buffer.alloc(24, 7).toString('base64');
    const headers = headersOf({ id: 'evt_1', body: '{"a":1}' }, secret, 1_674_087_231_999);
    const hmac = createHmac('sha256', Buffer.alloc(24, 7))
      .update('evt_1.1674087231.{"a":1}')
      .digest('base64');
    expect(headers).toMatchObject({
      'webhook-id': 'evt_1',
      'webhook-timestamp': '1674087231',
      'webhook-signature': `v1,${hmac}`,
    });
  });

  it('is of a topic; what is of none is told to nobody', () => {
    expect(topicOf(alert)).toBe('budget');
    expect(topicOf({ kind: 'webhook', host: 'h', failing: true, detail: '' })).toBeUndefined();
    expect(topicOf({ kind: 'drained', unfinished: 0 })).toBeUndefined();
  });
});
