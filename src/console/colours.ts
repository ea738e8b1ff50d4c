/** One colour a tenant, told apart by colour-blind readers too (Okabe and Ito). Pure. */
const PALETTE = ['#d55e00', '#0072b2', '#009e73', '#cc79a7', '#e69f00', '#56b4e9'] as const;
const REST = '#8a8f98';

/** Colours by who came first: a tenant keeps its own; those after the sixth share one. */
export class Colours {
  readonly #of = new Map<string, string>();

  /** Tells of tenants that are there at once: by their names, so that two pages that are opened now agree. */
  learn(tenants: readonly string[]): void {
    for (const tenant of tenants.toSorted()) this.of(tenant);
  }

  of(tenant: string): string {
    const known = this.#of.get(tenant);
    if (known !== undefined) return known;
    const colour = PALETTE[this.#of.size];
    if (colour === undefined) return REST;
    this.#of.set(tenant, colour);
    return colour;
  }
}
