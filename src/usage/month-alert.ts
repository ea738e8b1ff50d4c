/** A warning that so much of a month's budget or tokens is used. */
export interface MonthAlert {
  /** The same on every replica that tells it. */
  readonly id: string;
  readonly tenant: string;
  /** Of one of its keys, or of what it asks of one model. Both absent: of the tenant's own. */
  readonly keyId?: string;
  readonly model?: string;
  /** Of a month. */
  readonly limit: 'budget' | 'tokens';
  /** That was reached. */
  readonly percent: number;
  /** Tokens, or an amount with its currency. */
  readonly used: number | string;
  readonly of: number | string;
  /** `2026-11`, in UTC. */
  readonly month: string;
  /** Requests have been refused for it. */
  readonly refusing: boolean;
}
