/** Load of several tenants that counts what it asked for and what it got, so that others' counts can be held against it. */
import { chatBody, eventsOf, openStream, send } from './client.ts';

export type Tenant = 'quiet' | 'noisy' | 'limited' | 'spent';

/** What one tenant's clients have seen. */
export interface Seen {
  /** Answers by status. */
  readonly statuses: Map<number, number>;
  /** Refusals by the reason that metrics have: the error's code, of the rate limits which of them. */
  readonly codes: Map<string, number>;
  /** Requests that clients hung up on. */
  aborted: number;
  promptTokens: number;
  completionTokens: number;
  /** Seconds to the first event with text, of streams. */
  readonly ttftS: number[];
}

const NOISY_CLIENTS = 24;
const QUIET_EVERY_MS = 300;
const LIMITED_EVERY_MS = 700;
const ODD_EVERY_MS = 1_000;
const PROMPT = 'The same beginning of each prompt, long enough for some blocks of a cache. '.repeat(12);

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const count = <K>(map: Map<K, number>, key: K): void => void map.set(key, (map.get(key) ?? 0) + 1);

interface Usage {
  readonly prompt_tokens?: number;
  readonly completion_tokens?: number;
}

export class WatchedLoad {
  readonly #url: string;
  readonly #keys: Readonly<Record<Tenant, string>>;
  readonly #seen = new Map<Tenant, Seen>();
  /** Requests that Envoy refuses for their key: nobody's. */
  unknownKeys = 0;

  constructor(url: string, keys: Readonly<Record<Tenant, string>>) {
    this.#url = url;
    this.#keys = keys;
  }

  of(tenant: Tenant): Seen {
    let seen = this.#seen.get(tenant);
    if (seen === undefined) {
      const nothing = { aborted: 0, promptTokens: 0, completionTokens: 0, ttftS: [] };
      seen = { statuses: new Map(), codes: new Map(), ...nothing };
      this.#seen.set(tenant, seen);
    }
    return seen;
  }

  /** Requests of the tenant that ended, in whatever way. */
  requests(tenant: Tenant): number {
    const { statuses, aborted } = this.of(tenant);
    return [...statuses.values()].reduce((sum, n) => sum + n, aborted);
  }

  /**
   * Runs all of them; resolves when the last answer has come.
   *
   * @param aloneMs how long the others are without the noisy one, at the beginning and at the end.
   */
  async run(durationMs: number, aloneMs = 0): Promise<void> {
    const endMs = Date.now() + durationMs;
    const each = async (
      everyMs: number,
      one: (at: number) => Promise<void>,
      untilMs = endMs,
    ): Promise<void> => {
      for (let at = 0; Date.now() < untilMs; at += 1) {
        await one(at);
        await sleep(everyMs);
      }
    };
    const noisy = async (client: number): Promise<void> => {
      await sleep(aloneMs);
      await each(0, (at) => this.#chat('noisy', client * 1_000 + at, 24), endMs - aloneMs);
    };
    await Promise.all([
      ...Array.from({ length: NOISY_CLIENTS }, (_, client) => noisy(client)),
      each(QUIET_EVERY_MS, (at) => this.#chat('quiet', at, 8)),
      each(QUIET_EVERY_MS, (at) => this.#chat('quiet', at, 6, 'legal')),
      sleep(durationMs / 3).then(() => each(QUIET_EVERY_MS, (at) => this.#chat('quiet', at, 6, 'poems'))),
      each(LIMITED_EVERY_MS, (at) => this.#plain('limited', at)),
      each(LIMITED_EVERY_MS, (at) => this.#plain('spent', at)),
      each(ODD_EVERY_MS, (at) => this.#odd(at)),
      each(ODD_EVERY_MS, (at) => this.#hangUp(at)),
    ]);
  }

  #tokens(tenant: Tenant, usage: Usage | undefined): void {
    const seen = this.of(tenant);
    seen.promptTokens += usage?.prompt_tokens ?? 0;
    seen.completionTokens += usage?.completion_tokens ?? 0;
  }

  #body(at: number, tokens: number, model: string, more: object = {}): string {
    const messages = [{ role: 'user', content: `${PROMPT} ${at % 40}` }];
    return chatBody({ model, messages, max_tokens: tokens, ignore_eos: true, ...more });
  }

  #refused(tenant: Tenant, status: number, text: string): void {
    const seen = this.of(tenant);
    count(seen.statuses, status);
    if (status < 400) return;
    let reason: unknown;
    try {
      const { error } = JSON.parse(text) as {
        readonly error?: { readonly code?: string; readonly type?: string };
      };
      reason = error?.code === 'rate_limit_exceeded' ? `${error.type}_per_minute` : error?.code;
    } catch {
      // An engine's own words.
    }
    // An engine that fails has no code of ours, and its answer is no refusal.
    if (typeof reason === 'string') count(seen.codes, reason);
  }

  async #chat(tenant: Tenant, at: number, tokens: number, model = 'demo'): Promise<void> {
    const seen = this.of(tenant);
    const startMs = performance.now();
    try {
      const stream = await openStream(this.#url, {
        key: this.#keys[tenant],
        body: this.#body(at, tokens, model, { stream: true, stream_options: { include_usage: true } }),
      });
      let ttftS: number | undefined;
      while (ttftS === undefined && stream.status === 200) {
        if (stream.text().includes('"content":"') || stream.text().includes('[DONE]'))
          ttftS = (performance.now() - startMs) / 1_000;
        else await Promise.race([sleep(2), stream.done]);
      }
      const text = await stream.done;
      this.#refused(tenant, stream.status, text);
      if (ttftS !== undefined) seen.ttftS.push(ttftS);
      for (const event of eventsOf(text))
        if (event.includes('"usage":{')) this.#tokens(tenant, (JSON.parse(event) as { usage: Usage }).usage);
    } catch {
      // Cut off: counted as what it is at the client's side.
      seen.aborted += 1;
    }
  }

  async #plain(tenant: Tenant, at: number): Promise<void> {
    const answer = await send(this.#url, { key: this.#keys[tenant], body: this.#body(at, 4, 'demo') });
    this.#refused(tenant, answer.status, answer.text);
    this.#tokens(tenant, answer.json?.usage);
  }

  /** A key that is none, and a model that is none. */
  async #odd(at: number): Promise<void> {
    await send(this.#url, { key: 'nobody', body: this.#body(at, 1, 'demo') });
    this.unknownKeys += 1;
    const answer = await send(this.#url, { key: this.#keys.quiet, body: this.#body(at, 1, 'nonsense') });
    this.#refused('quiet', answer.status, answer.text);
  }

  async #hangUp(at: number): Promise<void> {
    const body = this.#body(at, 200, 'demo', { stream: true });
    const stream = await openStream(this.#url, { key: this.#keys.noisy, body });
    stream.hangUp();
    this.of('noisy').aborted += 1;
  }
}
