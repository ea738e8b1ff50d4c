/** What the parts of every pool share. */
import type { Quarantine } from '../admission/quarantine.ts';
import type { SharedLimits } from '../pool/types.ts';
import type { Dispatcher } from '../queue/types.ts';
import type { Catalog } from '../routing/model-catalog.ts';
import type { ServiceEvent } from '../telemetry/telemetry.ts';

/** Logs and counts an event. @param isNews false: it is counted only, as the log has it already. */
export type Tell = (event: ServiceEvent, isNews?: boolean) => void;

export interface PoolContext {
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly tell: Tell;
  readonly dispatcher: Dispatcher;
  readonly catalog: Catalog;
  readonly quarantine: Quarantine;
  /** How replicas share the endpoints of a pool; undefined: they do not. */
  readonly sharedLimitsOf: (pool: string) => SharedLimits | undefined;
  /** The models of a pool are other ones than before. */
  readonly onModels: () => void;
}
