/**
 * The account of allotments on a virtual clock: what the script in limit/redis-allotments.ts does, without
 * Redis.
 */
import type { EngineUse } from '../domain/engine-use.ts';
import type { Mutable } from '../domain/mutable.ts';
import {
  ALLOTMENT_MS,
  type AllotmentAnswer,
  type AllotmentRequest,
  type Others,
  SETTLE_MS,
} from '../limit/allotment.ts';
import type { AllotmentKind } from '../limit/allotments.ts';

interface Field {
  readonly held: number;
  readonly inUse: number;
  readonly want: number;
  readonly capacity: number;
  readonly endsMs: number;
  readonly number: number;
  readonly atMs: number;
  readonly engine: EngineUse | undefined;
}

export interface VirtualAllotments {
  /** Undefined: a later call of this replica is known. */
  call(
    key: string,
    kind: AllotmentKind,
    replica: string,
    sent: AllotmentRequest,
    nowMs: number,
  ): AllotmentAnswer | undefined;
  /** Everything is lost. */
  flush(): void;
}

/**
 * The fair part of a capacity: max-min over what is wanted; `spare`: and an equal part of what nobody wants.
 */
function fairPart(
  wants: readonly { readonly name: string; readonly want: number }[],
  { capacity, spare, me, nowMs }: { capacity: number; spare: boolean; me: string; nowMs: number },
): number {
  const count = wants.length;
  const named = [...wants].sort((a, b) => (a.name < b.name ? -1 : 1));
  const turn = capacity < count ? Math.floor(nowMs / ALLOTMENT_MS) : 0;
  const ranked = named
    .map((one, i) => ({ ...one, rank: (i + turn) % count }))
    .sort((a, b) => a.want - b.want || a.rank - b.rank);
  let left = capacity;
  let mine = 0;
  ranked.forEach(({ name, want }, i) => {
    const part = Math.min(want, Math.floor(left / (count - i)));
    left -= part;
    if (name === me) mine = part;
  });
  return spare ? mine + Math.floor(left / (count + 1)) : mine;
}

/** What all of them had of the engine by now; undefined: one does not say, or there is none. */
function engineOf(fields: readonly Field[], nowMs: number): EngineUse | undefined {
  const sum = { decoding: 0, pendingMs: 0, sequenceMs: 0, promptMs: 0, promptTokens: 0 };
  for (const { engine, atMs } of fields) {
    if (engine === undefined) return undefined;
    sum.decoding += engine.decoding;
    sum.pendingMs += engine.pendingMs;
    sum.sequenceMs += engine.sequenceMs + Math.floor(engine.decoding * (nowMs - atMs));
    sum.promptMs += engine.promptMs;
    sum.promptTokens += engine.promptTokens;
  }
  return fields.length === 0 ? undefined : sum;
}

export function createVirtualAllotments(): VirtualAllotments {
  const keys = new Map<string, Map<string, Field>>();
  const frozenUntil = new Map<string, number>();
  return {
    call(key, kind, replica, sent, nowMs) {
      const fields = keys.get(key) ?? new Map<string, Field>();
      keys.set(key, fields);
      for (const [name, { endsMs }] of fields) {
        if (endsMs <= nowMs || endsMs > nowMs + 2 * ALLOTMENT_MS) fields.delete(name);
      }
      const mine = fields.get(replica);
      if (mine !== undefined && mine.number >= sent.number) return undefined;
      fields.delete(replica);
      const others: Mutable<Others> = { count: 0, inUse: 0, held: 0 };
      const engine = engineOf([...fields.values()], nowMs);
      if (engine !== undefined) others.engine = engine;
      let { capacity } = sent;
      for (const field of fields.values()) {
        others.count += 1;
        others.inUse += field.inUse;
        others.held += field.held;
        capacity = Math.max(capacity, field.capacity);
      }
      if (sent.want === 0 && sent.keep === 0) return { held: 0, fair: 0, capacity, others };
      if (mine === undefined && sent.keep > 0) frozenUntil.set(key, nowMs + SETTLE_MS);
      const wants = [...fields].map(([name, { want }]) => ({ name, want }));
      wants.push({ name: replica, want: sent.want });
      const fair = fairPart(wants, { capacity, spare: kind === 'concurrency-limit', me: replica, nowMs });
      let more = Math.min(fair, capacity - others.held);
      const until = frozenUntil.get(key) ?? 0;
      if (until > nowMs && until <= nowMs + SETTLE_MS) more = Math.min(more, mine?.held ?? 0);
      const held = Math.max(sent.keep, more);
      const { claimed, want, number } = sent;
      fields.set(replica, {
        held,
        inUse: Math.min(held, claimed),
        want,
        capacity: sent.capacity,
        endsMs: nowMs + ALLOTMENT_MS,
        number,
        atMs: nowMs,
        engine: sent.engine,
      });
      return { held, fair, capacity, others };
    },
    flush() {
      keys.clear();
      frozenUntil.clear();
    },
  };
}
