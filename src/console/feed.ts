/** What the page knows: the stream's events, or the same documents asked for while there is no stream for it. */
import type { ConsoleAbout, RequestLine, RequestsEvent, UsageEvent } from '../admin/console-feed.ts';
import type { StatusReport } from '../admin/status.ts';

export type Link = 'connecting' | 'live' | 'polling' | 'away' | 'refused';

export interface Known {
  readonly link: Link;
  /** What the service says of why it does not answer; with the link `refused`. */
  readonly refusal?: string | undefined;
  readonly status?: StatusReport;
  readonly usage?: UsageEvent;
  /** Asked for anew whenever a stream opens: another service may be there. */
  readonly about?: ConsoleAbout;
  /** The newest first. */
  readonly requests: readonly RequestLine[];
}

/** Some minutes of a busy engine; what is older is forgotten. */
const MOST_REQUESTS = 2_000;
const POLL_MS = 2_000;
const AWAY_MS = 1_000;
/** While the streams are full, or the service is away, one is tried again. */
const STREAM_AGAIN_MS = 10_000;
/** The stream says something each second; half-open connections do not. */
const SILENCE_MS = 6_000;
const ANSWER_MS = 4_000;
/** Ends that are so much later than the last one are of a clock that has been put back since. */
const CLOCK_MS = 60_000;

/** Joins what is known with what has come, the oldest first: each request once, the newest first. */
function joined(known: readonly RequestLine[], come: readonly RequestLine[]): readonly RequestLine[] {
  const ids = new Set(known.map(({ id }) => id));
  const fresh = come.filter(({ id }) => !ids.has(id));
  if (fresh.length === 0) return known;
  const latestMs = (come.at(-1)?.endedMs ?? 0) + CLOCK_MS;
  return [...fresh, ...known]
    .filter(({ endedMs }) => endedMs <= latestMs)
    .sort((a, b) => b.endedMs - a.endedMs)
    .slice(0, MOST_REQUESTS);
}

/** Also of a clock that has been put back. */
const since = (atMs: number): number => Math.abs(Date.now() - atMs);

/** The service is there, and does not answer a page of this name or origin. */
class Refused extends Error {}

const MOST_SAID = 400;

async function refusalOf(response: Response): Promise<string> {
  const text = await response.text();
  try {
    const { error } = JSON.parse(text) as { readonly error?: unknown };
    return (typeof error === 'string' ? error : text).slice(0, MOST_SAID);
  } catch {
    return text.slice(0, MOST_SAID);
  }
}

async function ask<Answer>(path: string): Promise<Answer> {
  const response = await fetch(path, { signal: AbortSignal.timeout(ANSWER_MS) });
  if (response.status === 403) throw new Refused(await refusalOf(response));
  if (!response.ok) throw new Error(String(response.status));
  return (await response.json()) as Answer;
}

/** Keeps the page's knowledge fresh until it is closed. */
export class Feed {
  #known: Known = { link: 'connecting', requests: [] };
  #source: EventSource | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #heardMs = 0;
  #streamTriedMs = 0;
  #closed = false;
  readonly #tell: (known: Known) => void;

  constructor(tell: (known: Known) => void) {
    this.#tell = tell;
    this.#open();
  }

  close(): void {
    this.#closed = true;
    this.#source?.close();
    clearTimeout(this.#timer);
  }

  #learn(change: Partial<Known>): void {
    this.#known = { ...this.#known, ...change };
    this.#tell(this.#known);
  }

  #open(): void {
    this.#streamTriedMs = Date.now();
    this.#heardMs = Date.now();
    const source = new EventSource('/console/events');
    this.#source = source;
    source.addEventListener('open', () => void this.#askAbout());
    const on = (name: string, take: (document: unknown) => Partial<Known>): void =>
      source.addEventListener(name, (event: Event) => {
        this.#heardMs = Date.now();
        try {
          this.#learn({
            link: 'live',
            refusal: undefined,
            ...take(JSON.parse(String((event as MessageEvent).data))),
          });
        } catch {
          // A document that is not understood is left out; the next one comes.
        }
      });
    on('status', (document) => ({ status: document as StatusReport }));
    on('usage', (document) => ({ usage: document as UsageEvent }));
    on('requests', (document) => ({
      requests: joined(this.#known.requests, (document as RequestsEvent).requests),
    }));
    source.addEventListener('error', () => this.#lost());
    this.#after(SILENCE_MS, () => this.#watch());
  }

  async #askAbout(): Promise<void> {
    try {
      const about = await ask<ConsoleAbout>('/console/about');
      if (!this.#closed) this.#learn({ about });
    } catch {
      // It offers what it offered before; the next stream asks again.
    }
  }

  #watch(): void {
    if (since(this.#heardMs) > SILENCE_MS) this.#lost();
    else this.#after(SILENCE_MS, () => this.#watch());
  }

  /** The timer is of the stream: late ones, as of a machine that has slept, would ask beside this. */
  #lost(): void {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = undefined;
    if (this.#known.about === undefined) void this.#askAbout();
    void this.#poll();
  }

  #after(ms: number, then: () => void): void {
    clearTimeout(this.#timer);
    if (!this.#closed) this.#timer = setTimeout(then, ms);
  }

  async #poll(): Promise<void> {
    let there = true;
    try {
      const [status, told] = await Promise.all([
        ask<StatusReport>('/status?tenants=100&sort=tokens'),
        ask<RequestsEvent>('/console/requests'),
      ]);
      if (this.#closed) return;
      // A service that was away has its streams free again.
      const before = this.#known.link;
      const requests = joined(this.#known.requests, told.requests);
      this.#learn({ status, requests, link: 'polling', refusal: undefined });
      if (before === 'away' || before === 'refused' || before === 'live') {
        this.#open();
        return;
      }
    } catch (error) {
      there = false;
      const refused: Partial<Known> | undefined =
        error instanceof Refused ? { link: 'refused', refusal: error.message } : undefined;
      if (!this.#closed) this.#learn(refused ?? { link: 'away', refusal: undefined });
    }
    if (there && since(this.#streamTriedMs) > STREAM_AGAIN_MS) this.#open();
    else this.#after(there ? POLL_MS : AWAY_MS, () => void this.#poll());
  }
}
