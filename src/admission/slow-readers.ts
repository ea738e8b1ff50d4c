/**
 * Which clients were seen to read slowly of late.
 *
 * A slow reader is not seen as such. Envoy takes its answer from the engine until its own buffer and those of the
 * kernels are full; then it stops reading, and what the engine goes on to write waits there. So the answer pauses here
 * while other streams of the same endpoint flow, and when the client has made room it comes on at once, far faster
 * than an engine writes. A stream that the engine itself held up (its KV cache was full) goes on at the engine's pace,
 * and says nothing of its client. Nor does one that paused where no other stream flowed, or an answer that fits into
 * the buffers.
 *
 * A client is a tenant's: the same address is another client for each tenant. Memory is bounded: MAX_MARKS clients,
 * and when there are more, the tenant with the most of them forgets its oldest.
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
  readonly atMs: number;
  /** Of the answer, when it was seen: a shorter one may be in the buffers whole. */
  readonly bytes: number;
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

/** Clients that were seen to read slowly: a bounded number of them. */
class Marks {
  /** By tenant and address, each in the order in which they were seen last. */
  private readonly tenants = new Map<string, Map<string, Mark>>();
  size = 0;

  get(tenant: string, address: string): Mark | undefined {
    return this.tenants.get(tenant)?.get(address);
  }

  set(tenant: string, address: string, mark: Mark): void {
    this.forget(tenant, address);
    const own = this.tenants.get(tenant) ?? new Map<string, Mark>();
    this.tenants.set(tenant, own.set(address, mark));
    this.size += 1;
    this.makeRoom();
  }

  forget(tenant: string, address: string): void {
    const own = this.tenants.get(tenant);
    if (own?.delete(address) !== true) return;
    this.size -= 1;
    if (own.size === 0) this.tenants.delete(tenant);
  }

  private makeRoom(): void {
    while (this.size > MAX_MARKS) {
      let most = '';
      let count = 0;
      for (const [tenant, own] of this.tenants) {
        if (own.size > count) [most, count] = [tenant, own.size];
      }
      const [oldest] = this.tenants.get(most)?.keys() ?? [];
      if (oldest === undefined) return;
      this.forget(most, oldest);
    }
  }
}

/** What comes after a pause, until it is judged. */
interface Burst {
  /** Tokens before it. */
  readonly tokens: number;
  readonly fromMs: number;
  /** A token takes an engine at least this. */
  readonly leastMs: number;
}

/** How one client reads one stream. */
class StreamReading implements Reading {
  private readonly stream: WatchedStream;
  private readonly marks: Marks;
  /** Of all streams of the endpoint. */
  private readonly pace: Sample[];
  private bytes = 0;
  private tokens = 0;
  private lastMs: number;
  // Of the pace: until the stream has paused
  private sampledTokens = 0;
  private sampledMs: number;
  private hasPaused = false;
  private burst: Burst | undefined = undefined;

  constructor(stream: WatchedStream, marks: Marks, pace: Sample[], nowMs: number) {
    this.stream = stream;
    this.marks = marks;
    this.pace = pace;
    this.lastMs = nowMs;
    this.sampledMs = nowMs;
  }

  chunk(bytes: number, tokens: number, nowMs: number): void {
    this.bytes += bytes;
    if (tokens <= this.tokens) return;
    const pauseMs = nowMs - this.lastMs;
    if (pauseMs >= PAUSE_MS) this.paused(pauseMs, nowMs);
    this.tokens = tokens;
    this.lastMs = nowMs;
    this.judge(nowMs);
    this.sample(nowMs);
  }

  stalled(nowMs: number): void {
    this.hasPaused = true;
    if (this.othersMs() !== undefined) this.mark(nowMs);
  }

  completed(): void {
    const { tenant, address } = this.stream;
    const seen = this.marks.get(tenant, address);
    if (!this.hasPaused && seen !== undefined && this.bytes >= seen.bytes) this.marks.forget(tenant, address);
  }

  private paused(pauseMs: number, nowMs: number): void {
    this.hasPaused = true;
    const stepMs = this.othersMs();
    this.burst =
      stepMs === undefined || pauseMs < PAUSE_STEPS * stepMs
        ? undefined
        : { tokens: this.tokens, fromMs: nowMs, leastMs: stepMs / this.stream.outputs / BURST_SPEED };
  }

  /**
   * Time that others of the endpoint have waited for a token since its own last one; undefined: nobody has had any.
   */
  private othersMs(): number | undefined {
    const times = this.pace
      .filter(({ atMs }) => atMs > this.lastMs)
      .map(({ msPerToken }) => msPerToken)
      .sort((a, b) => a - b);
    return times.length < LEAST_SAMPLES ? undefined : times[times.length >> 1];
  }

  private judge(nowMs: number): void {
    const { burst } = this;
    if (burst === undefined) return;
    const came = this.tokens - burst.tokens;
    if (came < BURST_TOKENS) return;
    if (nowMs - burst.fromMs <= came * burst.leastMs) this.mark(nowMs);
    this.burst = undefined;
  }

  private mark(nowMs: number): void {
    const { tenant, address } = this.stream;
    this.marks.set(tenant, address, { atMs: nowMs, bytes: this.bytes });
  }

  /** A stream that has paused says nothing of its engine's pace any more: what waited comes at once. */
  private sample(nowMs: number): void {
    const more = this.tokens - this.sampledTokens;
    if (this.hasPaused || more < TOKENS_PER_SAMPLE) return;
    if (this.pace.length >= SAMPLES) this.pace.shift();
    const msPerToken = ((nowMs - this.sampledMs) / more) * this.stream.outputs;
    this.pace.push({ msPerToken, atMs: nowMs });
    this.sampledTokens = this.tokens;
    this.sampledMs = nowMs;
  }
}

export function createSlowReaders(): SlowReaders {
  const marks = new Marks();
  const paces = new Map<string, Sample[]>();

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
      const seen = marks.get(tenant, address);
      if (seen === undefined) return false;
      if (nowMs - seen.atMs < KEEP_MS) return true;
      marks.forget(tenant, address);
      return false;
    },
    size: () => marks.size,
    watch: (stream, nowMs) => new StreamReading(stream, marks, paceOf(stream.endpoint), nowMs),
  };
}
