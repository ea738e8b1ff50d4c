/**
 * The endpoints of one pool: who is in the rotation, how much each has in flight, and which one is next.
 *
 * Invariant: 0 ≤ in flight; every slot taken is given back exactly once. An endpoint that left the rotation or the
 * configuration keeps the count of what it still serves.
 */
interface EndpointState {
  /** `http://host:port` as configured. */
  readonly url: string;
  /** `ip:port`, as Envoy knows it. */
  readonly address: string;
  readonly healthy: boolean;
  readonly inFlight: number;
}

export interface Slot {
  /** Ordered `ip:port`: the chosen endpoint, then the fallbacks for Envoy's retries. */
  readonly addresses: readonly string[];
  /** The endpoint that the slot is counted on, `ip:port`. */
  readonly address: string;
  /** The first call gives the slot back; later ones are no-ops. */
  free(): void;
  /** Envoy served the request elsewhere (a retry): the slot is counted there from now on. */
  moveTo(address: string): void;
}

export interface PoolEndpoints {
  /** The least-loaded healthy endpoint that has room, or undefined. */
  acquire(): Slot | undefined;
  /** Requests that all healthy endpoints may have in flight. */
  window(): number;
  inFlight(): number;
  healthyCount(): number;
  setHealthy(url: string, healthy: boolean): void;
  /** Replaces the set; endpoints that stay keep their state. `address` is the resolved `ip:port`. */
  reconfigure(
    endpoints: readonly { readonly url: string; readonly address: string }[],
    windowPerEndpoint: number,
  ): void;
  list(): readonly EndpointState[];
}

interface Member {
  readonly url: string;
  address: string;
  healthy: boolean;
  inFlight: number;
}

export function createPoolEndpoints(): PoolEndpoints {
  let members: Member[] = [];
  let windowPerEndpoint = 0;
  let inFlight = 0;
  /** Ties go round, so that an idle pool does not send everything to its first endpoint. */
  let turn = 0;

  const slotOn = (first: Member): Slot => {
    let member = first;
    let open = true;
    member.inFlight += 1;
    inFlight += 1;
    const fallbacks = members
      .filter((other) => other !== first && other.healthy)
      .sort((a, b) => a.inFlight - b.inFlight)
      .map((other) => other.address);
    return {
      addresses: [first.address, ...fallbacks],
      get address() {
        return member.address;
      },
      free() {
        if (!open) return;
        open = false;
        member.inFlight -= 1;
        inFlight -= 1;
      },
      moveTo(address) {
        if (!open || address === member.address) return;
        const other = members.find((candidate) => candidate.address === address);
        if (other === undefined) return;
        member.inFlight -= 1;
        member = other;
        member.inFlight += 1;
      },
    };
  };

  return {
    acquire() {
      let best: Member | undefined;
      for (let i = 0; i < members.length; i += 1) {
        const member = members[(turn + i) % members.length];
        if (member === undefined || !member.healthy || member.inFlight >= windowPerEndpoint) continue;
        if (best === undefined || member.inFlight < best.inFlight) best = member;
      }
      if (best === undefined) return undefined;
      turn = (members.indexOf(best) + 1) % members.length;
      return slotOn(best);
    },
    window: () => members.reduce((sum, member) => sum + (member.healthy ? windowPerEndpoint : 0), 0),
    inFlight: () => inFlight,
    healthyCount: () => members.reduce((sum, member) => sum + (member.healthy ? 1 : 0), 0),
    setHealthy(url, healthy) {
      const member = members.find((candidate) => candidate.url === url);
      if (member !== undefined) member.healthy = healthy;
    },
    reconfigure(endpoints, perEndpoint) {
      windowPerEndpoint = perEndpoint;
      members = endpoints.map(({ url, address }) => {
        const known = members.find((member) => member.url === url);
        if (known === undefined) return { url, address, healthy: false, inFlight: 0 };
        known.address = address;
        return known;
      });
      turn = 0;
    },
    list: () =>
      members.map(({ url, address, healthy, inFlight: busy }) => ({ url, address, healthy, inFlight: busy })),
  };
}
