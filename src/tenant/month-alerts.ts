/**
 * Warnings of what is used of months: each once a month, per cent and amount of the limit, over all replicas and restarts. The
 * store says who tells it: a bucket of one for each warning, which who comes first takes.
 *
 * Invariant: while the store is asked of nobody twice at once, and does not lose what it has, each is told once. Replicas that
 * cannot ask it tell each for itself; the warnings have one id then.
 */
import { createHash } from 'node:crypto';
import type { Limits, TenantConfig } from '../config/config.ts';
import { DEFAULT_ALERTS } from '../config/limits.ts';
import { amountText } from '../domain/amount.ts';
import type { Snapshotted, StoredBucket } from '../limit/memory-store.ts';
import type { LimitStore, StoredLimit } from '../limit/store.ts';
import type { MonthAlert } from '../usage/month-alert.ts';
import type { Tenant } from './directory.ts';
import type { MonthUse } from './month-use.ts';
import type { PartName, TenantLimits } from './tenant-limits.ts';

const DAY_MS = 24 * 3_600_000;
/** Does not come back, and is forgotten after the month. */
const ONCE = { amount: 1, unitMs: 1e26, keepMs: 40 * DAY_MS } as const satisfies StoredLimit;
/** Of months that this replica knows nothing of, as many are asked for in a round. */
const MOST_ASKED = 100;
/** A limit that refuses counts as used up from this part on: a request rarely fits exactly. */
const NEARLY = 0.9;

/** Of a warning, from its bucket's key. */
const TOLD_KEY = /:(\d{4})-(\d{1,2}):told:\d+:\d+$/;

const hasMonth = ({ tokensPerMonth, budgetPerMonth }: Limits): boolean =>
  tokensPerMonth !== undefined || budgetPerMonth !== undefined;

const amountOf = ({ currency }: MonthUse, amount: number): number | string =>
  currency === undefined ? Math.round(amount) : amountText({ currency, nano: amount });

/** Whether so much of the limit is used. */
const isReached = ({ used, limit, hasRefused }: MonthUse, percent: number): boolean =>
  used * 100 >= limit * percent || (percent === 100 && hasRefused && used >= limit * NEARLY);

export class MonthAlerts implements Snapshotted {
  private readonly store: LimitStore;
  /** Keys of what was told, by this replica or another one, with the end of their month. */
  private readonly told = new Map<string, number>();

  constructor(store: LimitStore) {
    this.store = store;
  }

  /** @returns what is to be told now, by this replica. It never rejects. */
  async round(tenants: Iterable<Tenant>, nowMs: number, unixMs: number): Promise<readonly MonthAlert[]> {
    for (const [key, endsMs] of this.told) if (unixMs >= endsMs) this.told.delete(key);
    let asked = 0;
    const claims: Promise<MonthAlert | undefined>[] = [];
    for (const tenant of tenants) {
      // Of keys and models those that something was used of here: who else has used them tells it.
      for (const part of tenant.limits.parts()) {
        const isOwn = part.part === undefined;
        const uses = part.monthUses();
        if (isOwn && uses.length === 0 && asked < MOST_ASKED && hasMonth(tenant.config.limits)) {
          asked += 1;
          part.month(nowMs);
          part.budget(nowMs);
        }
        for (const use of uses) claims.push(...this.claimsOf(tenant, part, use, nowMs));
      }
    }
    return (await Promise.all(claims)).filter((alert) => alert !== undefined);
  }

  *buckets(): Iterable<StoredBucket> {
    for (const key of this.told.keys()) yield [key, 1, ONCE.unitMs, 0, ONCE.keepMs];
  }

  restore(buckets: Iterable<StoredBucket>): void {
    for (const [key] of buckets) {
      const [, year, month] = TOLD_KEY.exec(key) ?? [];
      if (month !== undefined) this.told.set(key, Date.UTC(Number(year), Number(month)));
    }
  }

  private claimsOf(
    { config, limits }: Tenant,
    part: TenantLimits,
    use: MonthUse,
    nowMs: number,
  ): readonly Promise<MonthAlert | undefined>[] {
    const percents = part.budgetAlerts ?? limits.budgetAlerts ?? DEFAULT_ALERTS;
    return percents.flatMap((percent) => {
      if (!isReached(use, percent)) return [];
      const key = `${use.key}:told:${use.limit}:${percent}`;
      if (this.told.has(key)) return [];
      this.told.set(key, use.endsMs);
      return [this.claim(key, alertOf(config, part.part, use, percent, key), nowMs)];
    });
  }

  private async claim(key: string, alert: MonthAlert, nowMs: number): Promise<MonthAlert | undefined> {
    const [taken] = await this.store.take([{ key, limit: ONCE, hits: 1 }], nowMs);
    return taken?.granted === true ? alert : undefined;
  }
}

/** Of keys that follow each other, the last one. @param buckets what theirs are called. */
function keyIdOf({ byKey = new Map() }: Limits, buckets: string): string {
  let id = buckets;
  for (const [one, { bucketsOf = one }] of byKey) if (bucketsOf === buckets) id = one;
  return id;
}

function alertOf(
  { name, limits }: TenantConfig,
  part: PartName | undefined,
  use: MonthUse,
  percent: number,
  key: string,
): MonthAlert {
  return {
    id: `evt_${createHash('sha256').update(key).digest('hex').slice(0, 32)}`,
    tenant: name,
    ...(part?.kind === 'key' && { keyId: keyIdOf(limits, part.name) }),
    ...(part?.kind === 'model' && { model: part.name }),
    limit: use.currency === undefined ? 'tokens' : 'budget',
    percent,
    used: amountOf(use, use.used),
    of: amountOf(use, use.limit),
    month: new Date(use.endsMs - DAY_MS).toISOString().slice(0, 7),
    refusing: use.hasRefused,
  };
}
