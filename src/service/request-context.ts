/** What every request is handled with. */
import { randomBytes, randomFillSync } from 'node:crypto';
import { BodyDecoder } from '../admission/body-decoder.ts';
import { BodyQueue } from '../admission/body-queue.ts';
import type { ExplainContext } from '../admission/explain.ts';
import { Holdings } from '../admission/holdings.ts';
import { textOf } from '../domain/text-of.ts';
import { NO_CAPABILITIES } from '../engine/capabilities.ts';
import { DRIVERS } from '../engine/drivers.ts';
import type { Mirrors } from '../rollout/mirrors.ts';
import { createPromptHasher } from '../routing/prompt-hash.ts';
import type { ServiceEvent } from '../telemetry/telemetry.ts';
import { RECORD_ID_SEED_BYTES, RecordIds } from '../usage/record-ids.ts';
import { Tags } from '../usage/tags.ts';
import type { PoolSet } from './pool-set.ts';
import { currentPrices } from './prices.ts';
import type { Tracing } from './tracing.ts';

export interface RequestParts
  extends Pick<
    ExplainContext,
    | 'config'
    | 'tenants'
    | 'catalog'
    | 'rollouts'
    | 'dispatcher'
    | 'predictor'
    | 'occupancy'
    | 'paces'
    | 'quarantine'
    | 'owners'
    | 'record'
    | 'now'
  > {
  readonly pools: PoolSet;
  readonly mirrors: Mirrors;
  readonly tracing: Tracing;
  readonly tell: (event: ServiceEvent) => void;
}

export function createRequestContext(parts: RequestParts): ExplainContext {
  const { config, tenants, catalog, rollouts, dispatcher, predictor, occupancy, paces, quarantine } = parts;
  const { pools, mirrors, tracing, owners, record, now, tell } = parts;
  const hasher = createPromptHasher(randomFillSync(new Uint32Array(6)));
  const onBug = (detail: string): void => tell({ kind: 'stream-failed', detail });
  const tags = new Tags();
  const prices = currentPrices(config);
  const onError = (error: unknown): void => onBug(textOf(error));
  const bodies = new BodyQueue({ now, later: setImmediate, onBug: onError });
  return {
    config,
    tenants,
    catalog,
    rollouts,
    dispatcher,
    predictor,
    bodies,
    decoder: new BodyDecoder(bodies, { now, onBug: onError }),
    occupancy,
    holdings: new Holdings(onError),
    paces,
    quarantine,
    capabilitiesOf: (pool) => pools.get(pool)?.capabilities.common ?? NO_CAPABILITIES,
    engineKindOf: (pool) => pools.get(pool)?.engines.onlyKind(),
    engineAt: (pool, address) => pools.get(pool)?.engineAt(address),
    nameAt: (pool, address) => pools.get(pool)?.nameAt(address) ?? address,
    routingInputsOf: (pool) => pools.get(pool)?.routingInputs,
    hashPrompt: (_pool, source) => hasher.hash(source),
    mirrorTo: (model, outputTokens, nowMs) => mirrors.poolFor(model, Math.random, outputTokens, nowMs),
    contextAt: (pool, address) => pools.get(pool)?.contextAt(address),
    listedModel: (pool, model) => pools.get(pool)?.engines.listedModel(model),
    adapterName(pool, { base, name }) {
      const kind = pools.get(pool)?.engines.lastKind;
      return kind === undefined ? undefined : DRIVERS[kind].lora.modelOf?.(base, name);
    },
    ...(owners !== undefined && { owners }),
    hasEndpoint: (pool, address) =>
      pools
        .get(pool)
        ?.endpoints.list(now())
        .some((one) => one.address === address) === true,
    // While nothing has a price, none is asked for.
    get prices() {
      return config().prices && prices;
    },
    unixMs: Date.now,
    startedS: Math.floor(Date.now() / 1_000),
    stamp: stamper(),
    trace: tracing.begin,
    traced: tracing.ended,
    record: (usage) => record(tags.bounded(usage, config().attribution?.most ?? 0, Date.now())),
    now,
    onBug,
  };
}

/** Records are known by an id of this process, and by the time of day. */
function stamper(): NonNullable<ExplainContext['stamp']> {
  const ids = new RecordIds(randomBytes(RECORD_ID_SEED_BYTES));
  return (endedMs = Date.now()) => ({ id: ids.next(endedMs), endedMs });
}
