/**
 * What each tenant makes Envoy and this process hold: exchanges that are open, and bytes of request bodies.
 *
 * An exchange is open from its headers until Envoy has ended its stream: while its body is uploaded, while it waits,
 * in the engine, and while its client reads the answer, or does not. Its slot may have been free for long. A body is
 * held until the engine's answer begins: until then Envoy may have to send it again.
 *
 * Envoy reads a body on while its headers wait for their answer: what waits for room is in memory already. So
 * what waits is bounded too.
 *
 * Invariants: of one tenant no more than `maxOpen` are open, no more than `maxHeldBytes` are held, and no more than
 * `maxWaitingBytes` wait for room; what was taken is given back once.
 */
import type { Config, Limits } from '../config/config.ts';
import { maxOpenOf, maxWaitingOf } from '../config/memory-bound.ts';

export function holdingLimitsOf(limits: Limits, config: Pick<Config, 'pools' | 'envoy'>): HoldingLimits {
  const { maxHeldBytes = Number.POSITIVE_INFINITY } = limits;
  return {
    maxOpen: maxOpenOf(limits, config),
    maxHeldBytes,
    maxWaitingBytes: maxWaitingOf(maxHeldBytes, config),
  };
}

interface HoldingLimits {
  readonly maxOpen: number;
  readonly maxHeldBytes: number;
  /** Besides those that are held. */
  readonly maxWaitingBytes: number;
}

/** What one tenant makes Envoy and this process hold. */
class Account {
  readonly tenant: string;
  open = 0;
  bytes = 0;
  /** Of bodies without room, as they come. */
  waitingBytes = 0;
  limits: HoldingLimits;
  /** Open, and without room for their bodies yet: in the order in which they came. */
  readonly waiting: Holding[] = [];
  private readonly holdings: Holdings;

  constructor(tenant: string, limits: HoldingLimits, holdings: Holdings) {
    this.tenant = tenant;
    this.limits = limits;
    this.holdings = holdings;
  }

  /** There is room for it at once, or it may wait until there is. */
  mayWait(bytes: number, arriving: number, { maxHeldBytes, maxWaitingBytes }: HoldingLimits): boolean {
    if (this.waiting.length === 0 && this.bytes + bytes <= maxHeldBytes) return true;
    return this.waitingBytes + arriving <= maxWaitingBytes;
  }

  /** First come, first served: a large body is not overtaken for ever by small ones. */
  grantRoom(): void {
    for (;;) {
      const [next] = this.waiting;
      if (next === undefined || this.bytes + next.wanted > this.limits.maxHeldBytes) return;
      this.waiting.shift();
      this.waitingBytes -= next.arriving;
      this.bytes += next.wanted;
      // It tells another exchange: nothing of that may break this one.
      try {
        next.granted();
      } catch (error) {
        this.holdings.onBug(error);
      }
    }
  }

  closed(): void {
    this.open -= 1;
    if (this.open === 0) this.holdings.forget(this);
  }
}

export class Holdings {
  private readonly accounts = new Map<string, Account>();
  readonly onBug: (error: unknown) => void;

  /** @param onBug told when an exchange failed as it was told of room. */
  constructor(onBug: (error: unknown) => void) {
    this.onBug = onBug;
  }

  /**
   * @param bytes that are held for its body: what it says, or the most that may come; with what it may become.
   * @param arriving of those, what the proxy reads while it waits for room: it is decoded when there is some.
   * @returns a holding that may have to wait for room; or why it cannot even do that.
   */
  take(
    tenant: string,
    bytes: number,
    limits: HoldingLimits,
    arriving = bytes,
  ): Holding | 'too-many-open' | 'too-many-bytes' {
    const account = this.accounts.get(tenant) ?? new Account(tenant, limits, this);
    if (account.open >= limits.maxOpen) return 'too-many-open';
    if (bytes > limits.maxHeldBytes || !account.mayWait(bytes, arriving, limits)) return 'too-many-bytes';
    // They may have changed with the configuration.
    account.limits = limits;
    account.open += 1;
    this.accounts.set(tenant, account);
    const holding = new Holding(bytes, arriving, account);
    account.waiting.push(holding);
    account.waitingBytes += arriving;
    account.grantRoom();
    return holding;
  }

  /** By an account that holds nothing any more. */
  forget(account: Account): void {
    if (this.accounts.get(account.tenant) === account) this.accounts.delete(account.tenant);
  }

  openOf(tenant: string): number {
    return this.accounts.get(tenant)?.open ?? 0;
  }

  bytesOf(tenant: string): number {
    return this.accounts.get(tenant)?.bytes ?? 0;
  }
}

/** Is told when there is room for its body. */
export interface HoldingOwner {
  roomGranted(): void;
}

/** One exchange's part of its tenant's account. */
export class Holding {
  /** Bytes that it will have when there is room. */
  readonly wanted: number;
  /** Bytes that the proxy may have of it before. */
  readonly arriving: number;
  private readonly account: Account;
  private bytes = 0;
  private isOpen = true;
  private hasBytes = false;
  private owner: HoldingOwner | undefined;

  constructor(wanted: number, arriving: number, account: Account) {
    this.wanted = wanted;
    this.arriving = arriving;
    this.account = account;
    this.owner = undefined;
  }

  /** There is room for its body. */
  hasRoom(): boolean {
    return this.hasBytes;
  }

  /** @param owner told once, when there is room; not when it is gone before. */
  whenRoom(owner: HoldingOwner): void {
    this.owner = owner;
  }

  /** By the account alone. */
  granted(): void {
    this.bytes = this.wanted;
    this.hasBytes = true;
    const { owner } = this;
    this.owner = undefined;
    owner?.roomGranted();
  }

  /**
   * The body is there: it is as long as it is. What is longer than was said is not counted; the service refuses it.
   */
  arrived(bytes: number): void {
    if (!this.isOpen || bytes >= this.bytes) return;
    this.account.bytes -= this.bytes - bytes;
    this.bytes = bytes;
    this.account.grantRoom();
  }

  /** Nobody needs the body any more. */
  bodyGone(): void {
    this.arrived(0);
  }

  /** Envoy has ended the stream, or will not keep it. */
  gone(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.owner = undefined;
    const { account } = this;
    const index = account.waiting.indexOf(this);
    if (index >= 0) {
      account.waiting.splice(index, 1);
      account.waitingBytes -= this.arriving;
    }
    account.bytes -= this.bytes;
    this.bytes = 0;
    account.closed();
    account.grantRoom();
  }
}
