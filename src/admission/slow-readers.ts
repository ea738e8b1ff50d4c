/**
 * Which clients were seen to read slowly of late.
 *
 * A slow reader is not seen as such. Envoy takes its answer from the engine until its own buffer and those of the kernels are
 * full; then it stops reading, and what the engine goes on to write waits there. So the answer pauses here while other streams
 * of the same endpoint flow, and when the client has made room it comes on at once, far faster than an engine writes. A stream
 * that the engine itself held up (its KV cache was full) goes on at the engine's pace, and says nothing of its client. Nor does
 * one that paused where no other stream flowed, or an answer that fits into the buffers.
 *
 * A client is a tenant's: the same address is another client for each tenant. Memory is bounded: MAX_MARKS clients, and when
 * there are more, the tenant with the most of them forgets its oldest.
 */

export interface SlowReaders {
  /** Seen within the last KEEP_MS, and no whole answer since that would have shown it again. */
  isSlow(tenant: string, address: string, nowMs: number): boolean;
  /** A stream whose first token is there. @param outputs streams side by side in it. */
  watch(stream: WatchedStream, nowMs: number): Reading;
  /** Clients that are remembered. */
  size(): number;
}

interface WatchedStream {
  readonly tenant: string;
  /** Of the client; empty: not known, which is one client of the tenant. */
  readonly address: string;
  /** `ip:port` that answers. */
  readonly endpoint: string;
  readonly outputs: number;
}

export interface Reading {
  /** @param tokens so far, of all outputs. */
  chunk(bytes: number, tokens: number, nowMs: number): void;
  /** Its engine must have ended it, and nothing comes. */
  stalled(nowMs: number): void;
  /** The whole answer has come. */
  completed(): void;
}

export const KEEP_MS = 600_000;
/** About 2 MB. */
export const MAX_MARKS = 10_000;
/** Envoy and kernels take more than what an answer waits for in any smaller pause. */
const PAUSE_MS = 2_000;
/** A pause is so many times the time that others wait for a token. */
const PAUSE_STEPS = 20;
/** What comes after a pause is judged by so many tokens: more than engines send at once. */
const BURST_TOKENS = 16;
/** They come so many times faster than others' tokens. */
const BURST_SPEED = 4;
/** The pace of a stream is taken each so many tokens, of the latest streams of each endpoint. */
const TOKENS_PER_SAMPLE = 32;
const SAMPLES = 32;
const LEAST_SAMPLES = 2;
const MAX_ENDPOINTS = 4_096;
/** Longer is no address. */
const MAX_ADDRESS = 64;

interface Mark {
  atMs: number;
  /** Of the answer, when it was seen: a shorter one may be in the buffers whole. */
  bytes: number;
}

interface Sample {
  readonly msPerToken: number;
  readonly atMs: number;
}

/** The address that Envoy itself has appended to `x-forwarded-for`; what is before it is the client's word. */
export function lastHop(forwardedFor: string): string {
  const address = forwardedFor.slice(forwardedFor.lastIndexOf(',') + 1).trim();
  // A copy: a part of a string keeps all of it, which is as long as the client likes.
  return address.length > MAX_ADDRESS ? '' : Buffer.from(address).toString();
}

export function createSlowReaders(): SlowReaders {
  /** By tenant and address, each in the order in which they were seen last. */
  const marks = new Map<string, Map<string, Mark>>();
  const paces = new Map<string, Sample[]>();
  let size = 0;

  const forget = (tenant: string, address: string): void => {
    const own = marks.get(tenant);
    if (own?.delete(address) !== true) return;
    size -= 1;
    if (own.size === 0) marks.delete(tenant);
  };

  const makeRoom = (): void => {
    while (size > MAX_MARKS) {
      let most = '';
      let count = 0;
      for (const [tenant, own] of marks) {
        if (own.size > count) [most, count] = [tenant, own.size];
      }
      const [oldest] = marks.get(most)?.keys() ?? [];
      if (oldest === undefined) return;
      forget(most, oldest);
    }
  };

  const mark = (tenant: string, address: string, bytes: number, nowMs: number): void => {
    forget(tenant, address);
    const own = marks.get(tenant) ?? new Map<string, Mark>();
    marks.set(tenant, own.set(address, { atMs: nowMs, bytes }));
    size += 1;
    makeRoom();
  };

  const paceOf = (endpoint: string): Sample[] => {
    let samples = paces.get(endpoint);
    if (samples === undefined) {
      samples = [];
      paces.set(endpoint, samples);
      const [oldest] = paces.keys();
      if (paces.size > MAX_ENDPOINTS && oldest !== undefined) paces.delete(oldest);
    }
    return samples;
  };

  return {
    isSlow(tenant, address, nowMs) {
      const seen = marks.get(tenant)?.get(address);
      if (seen === undefined) return false;
      if (nowMs - seen.atMs < KEEP_MS) return true;
      forget(tenant, address);
      return false;
    },
    size: () => size,
    watch({ tenant, address, endpoint, outputs }, startMs) {
      const pace = paceOf(endpoint);
      let bytes = 0;
      let tokens = 0;
      let lastMs = startMs;
      let sampledTokens = 0;
      let sampledMs = startMs;
      let paused = false;
      /** What comes after a pause, until it is judged. */
      let burst: { readonly tokens: number; readonly fromMs: number; readonly leastMs: number } | undefined;

      /** Time that others of the endpoint have waited for a token since its own last one; undefined: nobody has had any. */
      const othersMs = (sinceMs: number): number | undefined => {
        const times = pace
          .filter(({ atMs }) => atMs > sinceMs)
          .map(({ msPerToken }) => msPerToken)
          .sort((a, b) => a - b);
        return times.length < LEAST_SAMPLES ? undefined : times[times.length >> 1];
      };

      const judge = (nowMs: number): void => {
        if (burst === undefined) return;
        const came = tokens - burst.tokens;
        if (came < BURST_TOKENS) return;
        if (nowMs - burst.fromMs <= came * burst.leastMs) mark(tenant, address, bytes, nowMs);
        burst = undefined;
      };

      /** A stream that has paused says nothing of its engine's pace any more: what waited comes at once. */
      const sample = (nowMs: number): void => {
        const more = tokens - sampledTokens;
        if (paused || more < TOKENS_PER_SAMPLE) return;
        if (pace.length >= SAMPLES) pace.shift();
        pace.push({ msPerToken: ((nowMs - sampledMs) / more) * outputs, atMs: nowMs });
        sampledTokens = tokens;
        sampledMs = nowMs;
      };

      return {
        chunk(length, tokensNow, nowMs) {
          bytes += length;
          if (tokensNow <= tokens) return;
          const pauseMs = nowMs - lastMs;
          if (pauseMs >= PAUSE_MS) {
            paused = true;
            const stepMs = othersMs(lastMs);
            burst =
              stepMs === undefined || pauseMs < PAUSE_STEPS * stepMs
                ? undefined
                : { tokens, fromMs: nowMs, leastMs: stepMs / outputs / BURST_SPEED };
          }
          tokens = tokensNow;
          lastMs = nowMs;
          judge(nowMs);
          sample(nowMs);
        },
        stalled(nowMs) {
          paused = true;
          if (othersMs(lastMs) !== undefined) mark(tenant, address, bytes, nowMs);
        },
        completed() {
          const seen = marks.get(tenant)?.get(address);
          if (!paused && seen !== undefined && bytes >= seen.bytes) forget(tenant, address);
        },
      };
    },
  };
}
