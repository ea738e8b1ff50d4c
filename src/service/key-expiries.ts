/** Keys that expire go from Envoy's files when they do, so that they are refused there too while the service is away. */
import type { Config } from '../config/config.ts';
import { isExpired } from '../domain/find-key.ts';

type Tenants = Config['tenants'];

/** Timers do not go further than 25 days, and clocks are set: it is looked again after this. */
const LONGEST_WAIT_MS = 3_600_000;
/** For a disk that is full to have room. The service refuses the key meanwhile. */
const RETRY_MS = 10_000;

/** The same tenants where none has an expired key. */
export function withoutExpired(tenants: Tenants, unixMs: number): Tenants {
  const isGone = (key: Parameters<typeof isExpired>[0]): boolean => isExpired(key, unixMs);
  if (![...tenants.values()].some(({ keys }) => keys.some(isGone))) return tenants;
  return new Map(
    [...tenants].map(([name, tenant]) => [
      name,
      tenant.keys.some(isGone) ? { ...tenant, keys: tenant.keys.filter((key) => !isGone(key)) } : tenant,
    ]),
  );
}

/** When the next key expires; undefined: none does. */
export function nextExpiryMs(tenants: Tenants, unixMs: number): number | undefined {
  let next: number | undefined;
  for (const { keys } of tenants.values()) {
    for (const key of keys) {
      if (key.expiresMs === undefined || isExpired(key, unixMs)) continue;
      next = Math.min(next ?? key.expiresMs, key.expiresMs);
    }
  }
  return next;
}

/** Calls back once a key of the tenants has expired. */
export class KeyExpiries {
  readonly #unixMs: () => number;
  #timer: NodeJS.Timeout | undefined;

  constructor(unixMs: () => number) {
    this.#unixMs = unixMs;
  }

  /** In place of those that were watched. @param expired is called again in a while where it fails. */
  watch(tenants: Tenants, expired: () => void): void {
    this.close();
    this.#waitFor(nextExpiryMs(tenants, this.#unixMs()), expired);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #waitFor(untilMs: number | undefined, expired: () => void): void {
    if (untilMs === undefined) return;
    const ms = Math.min(Math.max(untilMs - this.#unixMs(), 0), LONGEST_WAIT_MS);
    this.#timer = setTimeout(() => {
      if (this.#unixMs() < untilMs) {
        this.#waitFor(untilMs, expired);
        return;
      }
      try {
        expired();
      } catch {
        this.#waitFor(this.#unixMs() + RETRY_MS, expired);
      }
    }, ms);
    this.#timer.unref();
  }
}
