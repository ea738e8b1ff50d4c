/**
 * Several simulated engines, on a virtual clock: a router says where each request goes, and mostly it goes at once: no queue of
 * Fairlane's, no concurrency limits. What is compared then is the choice alone; whole.ts has the queue and the limits too.
 */
import { createEventQueue } from '../../src/loadtest/event-queue.ts';
import { createEngine } from '../../src/simulator/engine.ts';
import type { EngineProfile } from '../../src/simulator/profile.ts';
import type { Engine } from '../../src/simulator/step.ts';
import type { Ask, Conversation, Trace } from './traces.ts';

/** A request at an endpoint, as the router sees it. */
export interface Sent {
  readonly ask: Ask;
  readonly endpoint: number;
}

export interface Router {
  /** The endpoint, by number. */
  pick(ask: Ask, nowMs: number): number;
  /** Instead of pick(): `go` is called when its turn is, which may be at once. */
  place?(ask: Ask, nowMs: number, go: (endpoint: number, nowMs: number) => void): void;
  firstToken(sent: Sent, nowMs: number): void;
  ended(sent: Sent, nowMs: number): void;
  /** What an engine says of itself, once a second. */
  gauges(endpoint: number, gauges: ReturnType<Engine['gauges']>, nowMs: number): void;
  /** Its gauges are read five times as often. */
  eager?(endpoint: number, nowMs: number): boolean;
}

/** @param engines only an oracle may look into them. */
export type MakeRouter = (engines: readonly Engine[], profile: EngineProfile) => Router;

export interface RunResult {
  /** From the arrival, in ms. */
  readonly ttfts: readonly number[];
  readonly promptTokens: number;
  /** That were found in a cache. */
  readonly cachedTokens: number;
  /** By endpoint. */
  readonly requests: readonly number[];
  readonly preemptions: number;
}

const HOP_MS = 0.5;
const SCRAPE_MS = 1_000;
const EAGER_SCRAPE_MS = 200;

interface Running extends Sent {
  readonly conversation: Conversation;
  readonly atMs: number;
}

export function simulate(
  trace: Trace,
  makeRouter: MakeRouter,
  { profile, endpoints }: { readonly profile: EngineProfile; readonly endpoints: number },
): RunResult {
  const events = createEventQueue();
  const engines = Array.from({ length: endpoints }, () => createEngine(profile));
  const router = makeRouter(engines, profile);
  const stepping = engines.map(() => false);
  const running = new Map<string, Running>();
  const requests = engines.map(() => 0);
  const ttfts: number[] = [];
  let promptTokens = 0;
  let cachedTokens = 0;
  let made = 0;
  let open = trace.conversations.length;

  const step = (at: number, nowMs: number): void => {
    const engine = engines[at];
    const plan = engine?.planStep();
    stepping[at] = plan !== undefined;
    if (engine === undefined || plan === undefined) return;
    events.at(nowMs + plan.durationMs, (endMs) => {
      for (const { id, index, last, cachedTokens: cached } of engine.finishStep()) {
        const one = running.get(id);
        if (one === undefined) continue;
        if (index === 0) {
          cachedTokens += cached;
          events.at(endMs + HOP_MS, (seenMs) => {
            ttfts.push(seenMs - one.atMs);
            router.firstToken(one, seenMs);
          });
        }
        if (!last) continue;
        running.delete(id);
        events.at(endMs + HOP_MS, (seenMs) => {
          router.ended(one, seenMs);
          goOn(one.conversation, seenMs);
        });
      }
      step(at, endMs);
    });
  };

  const send = (ask: Ask, conversation: Conversation, nowMs: number): void => {
    const arrivedMs = nowMs;
    const go = (endpoint: number, sentMs: number): void =>
      release({ ask, endpoint, conversation, atMs: arrivedMs }, sentMs);
    if (router.place === undefined) go(router.pick(ask, nowMs), nowMs);
    else router.place(ask, nowMs, go);
  };

  const release = (sent: Running, nowMs: number): void => {
    const { ask, endpoint } = sent;
    const id = String(made);
    made += 1;
    requests[endpoint] = (requests[endpoint] ?? 0) + 1;
    promptTokens += ask.promptTokens;
    running.set(id, sent);
    events.at(nowMs + HOP_MS, (atMs) => {
      engines[endpoint]?.add({
        id,
        promptTokens: ask.promptTokens,
        outputTokens: ask.outputTokens,
        prefixHashes: ask.blockHashes,
      });
      if (stepping[endpoint] === true) return;
      stepping[endpoint] = true;
      events.at(atMs, (startMs) => step(endpoint, startMs));
    });
  };

  const goOn = (conversation: Conversation, nowMs: number): void => {
    const next = conversation.next();
    if (next === undefined) {
      open -= 1;
      return;
    }
    events.at(nowMs + next.thinkMs, (atMs) => send(next.ask, conversation, atMs));
  };

  let looks = 0;
  const scrape = (nowMs: number): void => {
    const isDue = looks % (SCRAPE_MS / EAGER_SCRAPE_MS) === 0;
    looks += 1;
    engines.forEach((engine, i) => {
      if (isDue || router.eager?.(i, nowMs) === true) router.gauges(i, engine.gauges(), nowMs);
    });
    if (open > 0) events.at(nowMs + EAGER_SCRAPE_MS, scrape);
  };

  for (const conversation of trace.conversations) {
    events.at(conversation.atMs, (nowMs) => goOn(conversation, nowMs));
  }
  events.at(0, scrape);
  events.run();
  return {
    ttfts,
    promptTokens,
    cachedTokens,
    requests,
    preemptions: engines.reduce((sum, engine) => sum + engine.gauges().preemptions, 0),
  };
}
