/**
 * Who was there when engines died. Pure: whoever sees a death says so.
 *
 * A tenant that was in flight at two deaths within WINDOW_MS runs one request at a time until one ends well. A request
 * that was seen at two deaths (its engine died, it was tried on another, and that died) explains both: then its tenant
 * is limited and those who were merely there are not. Where nothing explains a death, all who were there count. So the
 * tenant of a request that kills engines is limited at its first one, and one that is unlucky goes on, at worst one
 * request at a time for one request.
 *
 * Each further time within FORGIVEN_MS that its own request explains takes twice as many that end well, so that a
 * tenant cannot mix both kinds. Who was merely there needs one, each time.
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
export interface RequestInEngine {
  /** It is served there now: the endpoint before did not. */
  movedTo(address: string, nowMs: number): void;
  /** It broke on these, one after the other: the connections were there, and no answer came. */
  brokeOn(addresses: readonly string[], nowMs: number): void;
  /** `well`: its whole answer came. `answered`: an error of the engine did. `unanswered`: nobody knows. */
  ended(how: 'well' | 'answered' | 'unanswered', nowMs: number): void;
}

/** Where a request's presence is counted. */
interface PresenceLog {
  arrived(address: string, tenant: string): void;
  left(address: string, tenant: string): void;
  leftUnanswered(address: string, tenant: string, nowMs: number): void;
  moved(from: string, tenant: string, sinceMs: number, nowMs: number): void;
  broke(addresses: readonly string[], tenant: string, sinceMs: number, nowMs: number): void;
  endedWell(tenant: string, nowMs: number): void;
}

class Presence implements RequestInEngine {
  private readonly log: PresenceLog;
  private readonly tenant: string;
  /** Where it was sent to. */
  private readonly first: string;
  private readonly sinceMs: number;
  /** Where it is served now. */
  private address: string;
  private isOpen = true;

  constructor(log: PresenceLog, tenant: string, address: string, sinceMs: number) {
    this.log = log;
    this.tenant = tenant;
    this.first = address;
    this.sinceMs = sinceMs;
    this.address = address;
    log.arrived(address, tenant);
  }

  movedTo(next: string, nowMs: number): void {
    if (!this.isOpen || next === this.address) return;
    this.log.leftUnanswered(this.address, this.tenant, nowMs);
    this.address = next;
    this.log.arrived(next, this.tenant);
    this.log.moved(this.first, this.tenant, this.sinceMs, nowMs);
  }

  brokeOn(addresses: readonly string[], nowMs: number): void {
    this.log.broke(addresses, this.tenant, this.sinceMs, nowMs);
  }

  ended(how: 'well' | 'answered' | 'unanswered', nowMs: number): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    if (how === 'unanswered') this.log.leftUnanswered(this.address, this.tenant, nowMs);
    else this.log.left(this.address, this.tenant);
    if (how === 'well') this.log.endedWell(this.tenant, nowMs);
  }
}

interface Death {
  readonly address: string;
  readonly atMs: number;
  readonly present: Set<string>;
  /** Tenants of requests that were seen at this death and at another. */
  readonly blamed: Set<string>;
}

interface Limitation {
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

export class Quarantine implements PresenceLog {
  readonly #changed: (change: Limited, nowMs: number) => void;
  /** Requests by address and tenant. */
  readonly #inFlight = new Map<string, Map<string, number>>();
  #left: { readonly tenant: string; readonly address: string; readonly atMs: number }[] = [];
  #deaths: Death[] = [];
  readonly #limited = new Map<string, Limitation>();

  constructor(changed: (change: Limited, nowMs: number) => void) {
    this.#changed = changed;
  }

  isLimited(tenant: string): boolean {
    return this.#limited.get(tenant)?.isLimited === true;
  }

  /** Requests that the tenant may have in flight. */
  mostInFlight(tenant: string): number {
    return this.isLimited(tenant) ? 1 : Number.POSITIVE_INFINITY;
  }

  /** @param address `ip:port` of the engine that it is sent to. */
  began(tenant: string, address: string, nowMs: number): RequestInEngine {
    return new Presence(this, tenant, address, nowMs);
  }

  /** By a request alone, as are those up to `endedWell`. */
  arrived(address: string, tenant: string): void {
    this.#count(address, tenant, 1);
  }

  left(address: string, tenant: string): void {
    this.#count(address, tenant, -1);
  }

  /** The endpoint's death may be noticed only after this. */
  leftUnanswered(address: string, tenant: string, nowMs: number): void {
    this.#count(address, tenant, -1);
    this.#left.push({ tenant, address, atMs: nowMs });
    if (this.#left.length > MAX_LEFT) this.#left.shift();
  }

  /** It may have been there when its first endpoint died, which is known already. */
  moved(from: string, tenant: string, sinceMs: number, nowMs: number): void {
    const death = this.#deaths.findLast((one) => one.address === from && one.atMs >= sinceMs);
    if (death === undefined || death.present.has(tenant)) return;
    death.present.add(tenant);
    this.#judge(tenant, nowMs);
  }

  broke(addresses: readonly string[], tenant: string, sinceMs: number, nowMs: number): void {
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
  }

  endedWell(tenant: string, nowMs: number): void {
    const limitation = this.#limited.get(tenant);
    if (limitation === undefined) return;
    if (!limitation.isLimited) {
      if (nowMs - limitation.lastMs >= FORGIVEN_MS) this.#limited.delete(tenant);
      return;
    }
    limitation.untilWell -= 1;
    if (limitation.untilWell > 0) return;
    limitation.isLimited = false;
    limitation.lastMs = nowMs;
    this.#changed({ tenant, limited: false, endpoints: [], untilWell: 0 }, nowMs);
  }

  /** The endpoint does not answer any more. */
  died(address: string, nowMs: number): void {
    this.#forget(nowMs);
    const death =
      this.#deaths.findLast((one) => one.address === address && nowMs - one.atMs < ONE_DEATH_MS) ??
      this.#add(address, nowMs);
    const there = new Set(this.#inFlight.get(address)?.keys());
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
    let tenants = this.#inFlight.get(address);
    if (tenants === undefined) {
      tenants = new Map();
      this.#inFlight.set(address, tenants);
    }
    const count = (tenants.get(tenant) ?? 0) + by;
    if (count > 0) tenants.set(tenant, count);
    else tenants.delete(tenant);
    if (tenants.size === 0) this.#inFlight.delete(address);
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
    const known = this.#limited.get(tenant);
    if (known?.isLimited === true) {
      // Once more while it is limited: from the beginning.
      if (counted.some(({ blamed }) => blamed.has(tenant))) known.untilWell = untilWellOf(known.times);
      return;
    }
    if (counted.length < LIMITING_DEATHS) return;
    const before = known !== undefined && nowMs - known.lastMs < FORGIVEN_MS ? known.times : 0;
    const times = before + (counted.some(({ blamed }) => blamed.has(tenant)) ? 1 : 0);
    const untilWell = times > before ? untilWellOf(times) : 1;
    this.#limited.set(tenant, { untilWell, isLimited: true, times, lastMs: nowMs });
    // The next time takes two others.
    for (const { present } of counted) present.delete(tenant);
    const endpoints = [...new Set(counted.map(({ address }) => address))];
    this.#changed({ tenant, limited: true, endpoints, untilWell }, nowMs);
  }
}

const untilWellOf = (times: number): number => Math.min(MOST_UNTIL_WELL, 2 ** Math.max(0, times - 1));
