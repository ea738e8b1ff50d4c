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

const expiredIn = (tenants: Tenants, unixMs: number): number => {
  let expired = 0;
  for (const { keys } of tenants.values()) for (const key of keys) if (isExpired(key, unixMs)) expired += 1;
  return expired;
};

interface Watched {
  /** Of the next key; Infinity: none expires. */
  readonly untilMs: number;
  /** Other keys have expired than when it began; a clock that was set back makes some good again. */
  readonly isOver: () => boolean;
  readonly changed: () => void;
}

/** Calls back once a key of the tenants has expired, and within an hour where the clock was set over the end of one. */
export class KeyExpiries {
  readonly #unixMs: () => number;
  #timer: NodeJS.Timeout | undefined;

  constructor(unixMs: () => number) {
    this.#unixMs = unixMs;
  }

  /** In place of those that were watched. @param changed is called again in a while where it fails. */
  watch(tenants: Tenants, changed: () => void): void {
    this.close();
    const unixMs = this.#unixMs();
    const untilMs = nextExpiryMs(tenants, unixMs) ?? Number.POSITIVE_INFINITY;
    const expired = expiredIn(tenants, unixMs);
    if (untilMs === Number.POSITIVE_INFINITY && expired === 0) return;
    const isOver = (): boolean =>
      this.#unixMs() >= untilMs || (expired > 0 && expiredIn(tenants, this.#unixMs()) < expired);
    this.#wait(untilMs - unixMs, { untilMs, isOver, changed });
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #wait(ms: number, watched: Watched): void {
    const { untilMs, isOver, changed } = watched;
    this.#timer = setTimeout(
      () => {
        if (!isOver()) {
          this.#wait(untilMs - this.#unixMs(), watched);
          return;
        }
        try {
          changed();
        } catch {
          this.#wait(RETRY_MS, watched);
        }
      },
      Math.min(Math.max(ms, 0), LONGEST_WAIT_MS),
    );
    this.#timer.unref();
  }
}
