/**
 * Who was there when engines died. Pure: whoever sees a death says so.
 *
 * A tenant that was in flight at two deaths within WINDOW_MS runs one request at a time until one ends well. A request that was
 * seen at two deaths (its engine died, it was tried on another, and that died) explains both: then its tenant is limited and
 * those who were merely there are not. Where nothing explains a death, all who were there count. So the tenant of a request that
 * kills engines is limited at its first one, and one that is unlucky goes on, at worst one request at a time for one request.
 *
 * Each further time within FORGIVEN_MS that its own request explains takes twice as many that end well, so that a tenant cannot
 * mix both kinds. Who was merely there needs one, each time.
 *
 * Memory: tenants with requests, MAX_DEATHS deaths and MAX_LEFT requests that left without an answer.
 */
export interface Limited {
  readonly tenant: string;
  /** False: it may run as many as ever. */
  readonly limited: boolean;
  /** Endpoints that died while it was there. */
  readonly endpoints: readonly string[];
  /** Requests that have to end well. */
  readonly untilWell: number;
}

/** A request in an engine. The first `ended` counts. */
export interface Ride {
  /** It is served there now: the endpoint before did not. */
  movedTo(address: string, nowMs: number): void;
  /** It broke on these, one after the other: the connections were there, and no answer came. */
  brokeOn(addresses: readonly string[], nowMs: number): void;
  /** `well`: its whole answer came. `answered`: an error of the engine did. `unanswered`: nobody knows. */
  ended(how: 'well' | 'answered' | 'unanswered', nowMs: number): void;
}

interface Death {
  readonly address: string;
  readonly atMs: number;
  readonly present: Set<string>;
  /** Tenants of requests that were seen at this death and at another. */
  readonly blamed: Set<string>;
}

interface Sentence {
  untilWell: number;
  isLimited: boolean;
  /** By requests of its own that were seen at two deaths. */
  times: number;
  lastMs: number;
}

const WINDOW_MS = 60_000;
/** A death is noticed within this time: who left without an answer before was there. */
const NOTICED_MS = 10_000;
/** An engine does not come back sooner: what is said of it is of one death. */
const ONE_DEATH_MS = 10_000;
const FORGIVEN_MS = 600_000;
const MOST_UNTIL_WELL = 64;
const MAX_DEATHS = 64;
const MAX_LEFT = 512;
const LIMITING_DEATHS = 2;

export class Quarantine {
  readonly #changed: (change: Limited, nowMs: number) => void;
  /** Requests by address and tenant. */
  readonly #riders = new Map<string, Map<string, number>>();
  #left: { readonly tenant: string; readonly address: string; readonly atMs: number }[] = [];
  #deaths: Death[] = [];
  readonly #sentences = new Map<string, Sentence>();

  constructor(changed: (change: Limited, nowMs: number) => void) {
    this.#changed = changed;
  }

  isLimited(tenant: string): boolean {
    return this.#sentences.get(tenant)?.isLimited === true;
  }

  /** Requests that the tenant may have in flight. */
  mostInFlight(tenant: string): number {
    return this.isLimited(tenant) ? 1 : Number.POSITIVE_INFINITY;
  }

  began(tenant: string, first: string, sinceMs: number): Ride {
    let address = first;
    let isOpen = true;
    this.#count(address, tenant, 1);
    const leave = (nowMs: number): void => {
      this.#count(address, tenant, -1);
      this.#left.push({ tenant, address, atMs: nowMs });
      if (this.#left.length > MAX_LEFT) this.#left.shift();
    };
    return {
      movedTo: (next, nowMs) => {
        if (!isOpen || next === address) return;
        leave(nowMs);
        address = next;
        this.#count(address, tenant, 1);
        // It may have been there when that died, which is known already.
        const death = this.#deaths.findLast((one) => one.address === first && one.atMs >= sinceMs);
        if (death === undefined || death.present.has(tenant)) return;
        death.present.add(tenant);
        this.#judge(tenant, nowMs);
      },
      brokeOn: (addresses, nowMs) => {
        this.#forget(nowMs);
        const deaths: Death[] = [];
        for (const one of addresses) {
          const known = this.#deaths.findLast(
            (death) => death.address === one && death.atMs >= sinceMs && !deaths.includes(death),
          );
          deaths.push(known ?? this.#add(one, nowMs));
        }
        for (const death of deaths) {
          death.present.add(tenant);
          if (deaths.length > 1) death.blamed.add(tenant);
        }
        this.#judge(tenant, nowMs);
      },
      ended: (how, nowMs) => {
        if (!isOpen) return;
        isOpen = false;
        if (how === 'unanswered') leave(nowMs);
        else this.#count(address, tenant, -1);
        if (how === 'well') this.#endedWell(tenant, nowMs);
      },
    };
  }

  /** The endpoint does not answer any more. */
  died(address: string, nowMs: number): void {
    this.#forget(nowMs);
    const death =
      this.#deaths.findLast((one) => one.address === address && nowMs - one.atMs < ONE_DEATH_MS) ??
      this.#add(address, nowMs);
    const there = new Set(this.#riders.get(address)?.keys());
    for (const one of this.#left) {
      if (one.address === address && nowMs - one.atMs < NOTICED_MS) there.add(one.tenant);
    }
    for (const tenant of there) {
      if (death.present.has(tenant)) continue;
      death.present.add(tenant);
      this.#judge(tenant, nowMs);
    }
  }

  #count(address: string, tenant: string, by: 1 | -1): void {
    let tenants = this.#riders.get(address);
    if (tenants === undefined) {
      tenants = new Map();
      this.#riders.set(address, tenants);
    }
    const count = (tenants.get(tenant) ?? 0) + by;
    if (count > 0) tenants.set(tenant, count);
    else tenants.delete(tenant);
    if (tenants.size === 0) this.#riders.delete(address);
  }

  #add(address: string, nowMs: number): Death {
    const death: Death = { address, atMs: nowMs, present: new Set(), blamed: new Set() };
    this.#deaths.push(death);
    if (this.#deaths.length > MAX_DEATHS) this.#deaths.shift();
    return death;
  }

  #forget(nowMs: number): void {
    this.#deaths = this.#deaths.filter(({ atMs }) => nowMs - atMs < WINDOW_MS);
    this.#left = this.#left.filter(({ atMs }) => nowMs - atMs < NOTICED_MS);
  }

  #judge(tenant: string, nowMs: number): void {
    const counted = this.#deaths.filter(
      ({ present, blamed, atMs }) =>
        nowMs - atMs < WINDOW_MS && present.has(tenant) && (blamed.size === 0 || blamed.has(tenant)),
    );
    const known = this.#sentences.get(tenant);
    if (known?.isLimited === true) {
      // Once more while it is limited: from the beginning.
      if (counted.some(({ blamed }) => blamed.has(tenant))) known.untilWell = untilWellOf(known.times);
      return;
    }
    if (counted.length < LIMITING_DEATHS) return;
    const before = known !== undefined && nowMs - known.lastMs < FORGIVEN_MS ? known.times : 0;
    const times = before + (counted.some(({ blamed }) => blamed.has(tenant)) ? 1 : 0);
    const untilWell = times > before ? untilWellOf(times) : 1;
    this.#sentences.set(tenant, { untilWell, isLimited: true, times, lastMs: nowMs });
    // The next time takes two others.
    for (const { present } of counted) present.delete(tenant);
    const endpoints = [...new Set(counted.map(({ address }) => address))];
    this.#changed({ tenant, limited: true, endpoints, untilWell }, nowMs);
  }

  #endedWell(tenant: string, nowMs: number): void {
    const sentence = this.#sentences.get(tenant);
    if (sentence === undefined) return;
    if (!sentence.isLimited) {
      if (nowMs - sentence.lastMs >= FORGIVEN_MS) this.#sentences.delete(tenant);
      return;
    }
    sentence.untilWell -= 1;
    if (sentence.untilWell > 0) return;
    sentence.isLimited = false;
    sentence.lastMs = nowMs;
    this.#changed({ tenant, limited: false, endpoints: [], untilWell: 0 }, nowMs);
  }
}

const untilWellOf = (times: number): number => Math.min(MOST_UNTIL_WELL, 2 ** Math.max(0, times - 1));
