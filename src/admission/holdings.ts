/**
 * What each tenant makes Envoy and this process hold: exchanges that are open, and bytes of request bodies.
 *
 * An exchange is open from its headers until Envoy has ended its stream: while its body is uploaded, while it waits, in the
 * engine, and while its client reads the answer, or does not. Its slot may have been free for long. A body is held until the
 * engine's answer begins: until then Envoy may have to send it again.
 *
 * Invariants: of one tenant no more than `maxOpen` are open, and no more than `maxHeldBytes` are held; what was taken is given
 * back once.
 */
import type { Config, Limits } from '../config/config.ts';
import { maxOpenOf } from '../config/memory-bound.ts';

export const holdingLimitsOf = (limits: Limits, config: Pick<Config, 'pools'>): HoldingLimits => ({
  maxOpen: maxOpenOf(limits, config),
  maxHeldBytes: limits.maxHeldBytes ?? Number.POSITIVE_INFINITY,
});

interface HoldingLimits {
  readonly maxOpen: number;
  readonly maxHeldBytes: number;
}

interface Account {
  open: number;
  bytes: number;
}

export class Holdings {
  private readonly accounts = new Map<string, Account>();

  /** @param bytes of its body: what it says, or the most that may come. */
  take(tenant: string, bytes: number, limits: HoldingLimits): Holding | 'too-many-open' | 'too-many-bytes' {
    const account = this.accounts.get(tenant) ?? { open: 0, bytes: 0 };
    if (account.open >= limits.maxOpen) return 'too-many-open';
    if (account.bytes + bytes > limits.maxHeldBytes) return 'too-many-bytes';
    account.open += 1;
    account.bytes += bytes;
    this.accounts.set(tenant, account);
    return new Holding(bytes, (openBy, bytesBy) => {
      account.open -= openBy;
      account.bytes -= bytesBy;
      if (account.open === 0 && this.accounts.get(tenant) === account) this.accounts.delete(tenant);
    });
  }

  openOf(tenant: string): number {
    return this.accounts.get(tenant)?.open ?? 0;
  }

  bytesOf(tenant: string): number {
    return this.accounts.get(tenant)?.bytes ?? 0;
  }
}

/** One exchange's part of its tenant's account. */
export class Holding {
  private bytes: number;
  private isOpen = true;
  private readonly giveBack: (open: number, bytes: number) => void;

  constructor(bytes: number, giveBack: (open: number, bytes: number) => void) {
    this.bytes = bytes;
    this.giveBack = giveBack;
  }

  /** The body is there: it is as long as it is. Envoy lets nothing through that is longer than what was said. */
  arrived(bytes: number): void {
    if (!this.isOpen || bytes >= this.bytes) return;
    this.giveBack(0, this.bytes - bytes);
    this.bytes = bytes;
  }

  /** Nobody needs the body any more. */
  bodyGone(): void {
    this.arrived(0);
  }

  /** Envoy has ended the stream, or will not keep it. */
  gone(): void {
    if (!this.isOpen) return;
    this.bodyGone();
    this.isOpen = false;
    this.giveBack(1, 0);
  }
}
