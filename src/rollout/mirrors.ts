/**
 * The mirrors that run: one for each model with one. A request that is sent on asks whether a pool gets a copy. What a copy does
 * there is seen by nobody, so what is known of the pool is what its engines say of themselves.
 */
import type { MirrorConfig, ModelConfig } from '../config/config.ts';
import { createMirror, type Mirror, type MirrorDecision, type MirrorPool } from './mirror.ts';

/** The engines of a pool, as probes and their gauges show them. */
export interface MirrorEndpoint {
  /** It may be given requests. Envoy chooses among all: one that may not keeps copies from the pool. */
  readonly open: boolean;
  /** Undefined: it does not say. */
  readonly gauges: { readonly running: number; readonly waiting: number } | undefined;
}

export interface MirrorPoolView {
  readonly endpoints: readonly MirrorEndpoint[];
  /** Sequences that each may run; `auto`: until requests wait. */
  readonly concurrencyLimit: number | 'auto';
}

interface MirrorState {
  readonly model: string;
  readonly pool: string;
  readonly fraction: number;
  readonly running: number;
}

type Skipped = Exclude<Extract<MirrorDecision, { kind: 'skip' }>['reason'], 'not-drawn'>;

export interface MirrorsOptions {
  /** Undefined: there is no such pool. */
  readonly poolOf: (pool: string) => MirrorPoolView | undefined;
  /** A request of the model was drawn: it is copied, or why not. */
  readonly onDrawn: (model: string, decision: 'copy' | Skipped) => void;
}

export interface Mirrors {
  /**
   * The pool that gets a copy of a request of this model, if one does.
   *
   * @param draw random, 0 ≤ draw < 1.
   * @param outputTokens predicted.
   */
  poolFor(model: string, draw: () => number, outputTokens: number, nowMs: number): string | undefined;
  /** A request of the model took so long from its release to its end. */
  learn(model: string, ms: number, outputTokens: number): void;
  reconfigure(models: Models): void;
  list(nowMs: number): readonly MirrorState[];
}

type Models = Iterable<Pick<ModelConfig, 'name' | 'mirror'>>;

interface Running {
  readonly config: MirrorConfig;
  readonly mirror: Mirror;
  /** Of whole requests, the prompt included. */
  msPerToken: number;
}

/** Before the first request of the model has ended. */
const INITIAL_MS_PER_TOKEN = 50;
const SMOOTHING = 0.1;

const boundsOf = ({ fraction, maxConcurrent, perSecond, maxDurationMs }: MirrorConfig) => ({
  fraction,
  maxConcurrent,
  perSecond,
  burst: Math.max(1, perSecond),
  maxDurationMs,
});

const sumOf = (endpoints: readonly MirrorEndpoint[], value: 'running' | 'waiting'): number | undefined => {
  let sum = 0;
  for (const { gauges } of endpoints) {
    if (gauges === undefined) return undefined;
    sum += gauges[value];
  }
  return sum;
};

export function createMirrors(initial: Models, { poolOf, onDrawn }: MirrorsOptions): Mirrors {
  let mirrors = new Map<string, Running>();

  const apply = (models: Models): void => {
    const kept = new Map<string, Running>();
    for (const { name, mirror: config } of models) {
      if (config === undefined) continue;
      const known = mirrors.get(name);
      // What was sent to another pool says nothing of this one.
      if (known === undefined || known.config.pool !== config.pool) {
        const msPerToken = known?.msPerToken ?? INITIAL_MS_PER_TOKEN;
        kept.set(name, { config, mirror: createMirror(boundsOf(config)), msPerToken });
      } else {
        known.mirror.reconfigure(boundsOf(config));
        kept.set(name, { ...known, config });
      }
    }
    mirrors = kept;
  };
  apply(initial);

  const poolNow = (pool: string): MirrorPool => {
    const view = poolOf(pool);
    const endpoints = view?.endpoints ?? [];
    const size = view?.concurrencyLimit ?? 'auto';
    return {
      healthy: endpoints.every(({ open }) => open) ? endpoints.length : 0,
      running: sumOf(endpoints, 'running'),
      waiting: sumOf(endpoints, 'waiting'),
      concurrencyLimit: size === 'auto' ? Number.POSITIVE_INFINITY : size * endpoints.length,
    };
  };

  return {
    poolFor(model, draw, outputTokens, nowMs) {
      const running = mirrors.get(model);
      if (running === undefined) return undefined;
      const { config, mirror, msPerToken } = running;
      const expectedMs = msPerToken * Math.max(1, outputTokens);
      const decision = mirror.decide(draw(), () => poolNow(config.pool), expectedMs, nowMs);
      if (decision.kind === 'copy') {
        onDrawn(model, 'copy');
        return config.pool;
      }
      if (decision.reason !== 'not-drawn') onDrawn(model, decision.reason);
      return undefined;
    },
    learn(model, ms, outputTokens) {
      const running = mirrors.get(model);
      if (running === undefined) return;
      running.msPerToken += SMOOTHING * (ms / Math.max(1, outputTokens) - running.msPerToken);
    },
    reconfigure: apply,
    list: (nowMs) =>
      [...mirrors].map(([model, { config, mirror }]) => ({
        model,
        pool: config.pool,
        fraction: config.fraction,
        running: mirror.running(nowMs),
      })),
  };
}
