/**
 * The rollouts that run: one for each model with a canary. A request of a model with one is assigned to a version: the
 * assignment says which, and is told how that went.
 *
 * Another setting than the weight, or any after a rollback, begins a new rollout: what was begun under the old one tells the new
 * one nothing.
 */
import type { RolloutConfig } from '../config/config.ts';
import { type Canary, createCanary, DEFAULT_CANARY, type RolledBack } from './canary.ts';

export interface CanaryAssignment {
  /** The version that serves the request. */
  readonly model: string;
  /** @param failed by what the engine did. What says nothing of it (a client's abort, a 4xx) is not told. */
  ended(failed: boolean, nowMs: number): void;
  /** Its first token came, `ttftMs` after the release; or it is late by now. Told once. */
  firstToken(promptTokens: number, ttftMs: number, nowMs: number): void;
  /** From when on it is late; undefined while that is not known. */
  slowAfterMs(promptTokens: number): number | undefined;
}

/** Who asks: it decides which version serves. */
interface Asker {
  readonly tenant: string;
  /** Value of a request header, by lower-case name; empty when absent. */
  readonly header: (name: string) => string;
}

interface RolloutState {
  readonly model: string;
  readonly canary: string;
  /** Part of the requests that the canary has now, 0 to 1: none after a rollback. */
  readonly weight: number;
  readonly rolledBack: RolledBack | undefined;
}

export interface Rollouts {
  /**
   * Which version of the model serves the request; undefined: the model itself, and nobody wants to know how that goes.
   *
   * @param usable whether the canary can serve it: a request that it cannot have is no part of the comparison.
   */
  assign(model: string, asker: Asker, usable: (canary: string) => boolean): CanaryAssignment | undefined;
  /** The version that a request would be served by now; undefined: the model itself. Changes nothing. */
  wouldServe(model: string, asker: Asker, usable: (canary: string) => boolean): string | undefined;
  reconfigure(models: Models): void;
  list(): readonly RolloutState[];
}

type Models = Iterable<{ readonly name: string; readonly canary?: RolloutConfig }>;
type OnRollback = (rollout: { readonly model: string; readonly canary: string }, why: RolledBack) => void;

interface Rollout {
  readonly config: RolloutConfig;
  readonly canary: Canary;
  readonly onRollback: (why: RolledBack) => void;
}

/** A request of a model with a canary: one for each. */
class AssignedRequest implements CanaryAssignment {
  readonly model: string;
  private readonly arm: 'stable' | 'canary';
  private readonly rollout: Rollout;

  constructor(model: string, arm: 'stable' | 'canary', rollout: Rollout) {
    this.model = model;
    this.arm = arm;
    this.rollout = rollout;
  }

  ended(failed: boolean, nowMs: number): void {
    this.note(this.rollout.canary.ended(this.arm, failed, nowMs));
  }

  firstToken(promptTokens: number, ttftMs: number, nowMs: number): void {
    this.note(this.rollout.canary.firstToken(this.arm, promptTokens, ttftMs, nowMs));
  }

  slowAfterMs(promptTokens: number): number | undefined {
    return this.rollout.canary.slowAfterMs(promptTokens);
  }

  private note(why: RolledBack | undefined): void {
    if (why !== undefined) this.rollout.onRollback(why);
  }
}

/** More of a client's header tells sessions apart no better. */
const KEY_CHARACTERS = 256;

const keyOf = ({ by, sessionHeader }: RolloutConfig, { tenant, header }: Asker): string => {
  const session = by === 'session' ? header(sessionHeader).slice(0, KEY_CHARACTERS) : '';
  return `${tenant}\0${session}`;
};

/** What makes it this rollout, and no other. */
const saltOf = (model: string, { model: canary, by, sessionHeader, salt }: RolloutConfig): string =>
  [model, canary, by, sessionHeader, salt].join('\0');

export function createRollouts(initial: Models, onRollback: OnRollback): Rollouts {
  let rollouts = new Map<string, Rollout>();

  const begin = (model: string, config: RolloutConfig): Rollout => {
    const { weight } = config;
    const canary = createCanary({ ...DEFAULT_CANARY, salt: saltOf(model, config), weight });
    return {
      config,
      canary,
      onRollback(why) {
        // One that has been replaced has nothing to roll back.
        if (rollouts.get(model)?.canary === canary) onRollback({ model, canary: config.model }, why);
      },
    };
  };
  const next = (model: string, config: RolloutConfig): Rollout => {
    const known = rollouts.get(model);
    if (known === undefined || saltOf(model, known.config) !== saltOf(model, config))
      return begin(model, config);
    if (known.config.weight === config.weight) return known;
    if (known.canary.rolledBack() !== undefined) return begin(model, config);
    known.canary.reconfigure({
      ...DEFAULT_CANARY,
      salt: saltOf(model, config),
      weight: config.weight,
    });
    return { ...known, config };
  };
  const apply = (models: Models): void => {
    const kept = new Map<string, Rollout>();
    for (const { name, canary } of models) if (canary !== undefined) kept.set(name, next(name, canary));
    rollouts = kept;
  };
  apply(initial);

  return {
    assign(model, asker, usable) {
      const rollout = rollouts.get(model);
      if (rollout === undefined || !usable(rollout.config.model)) return undefined;
      const { canary, config } = rollout;
      if (canary.rolledBack() !== undefined) return undefined;
      const arm = canary.assign(keyOf(config, asker));
      return new AssignedRequest(arm === 'canary' ? config.model : model, arm, rollout);
    },
    wouldServe(model, asker, usable) {
      const rollout = rollouts.get(model);
      if (rollout === undefined || !usable(rollout.config.model)) return undefined;
      const { canary, config } = rollout;
      return canary.wouldAssign(keyOf(config, asker)) === 'canary' ? config.model : undefined;
    },
    reconfigure: apply,
    list: () =>
      [...rollouts].map(([model, { config, canary }]) => {
        const rolledBack = canary.rolledBack();
        return {
          model,
          canary: config.model,
          weight: rolledBack === undefined ? config.weight : 0,
          rolledBack,
        };
      }),
  };
}
