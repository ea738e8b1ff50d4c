/** Somebody else, who sends small requests meanwhile: were they served, and by the service? */
import { Stalls } from '../../support/stalls.ts';
import { openH1 } from './h1.ts';
import { chat, h1Bytes, jsonOf, ownAddress } from './vectors.ts';
import type { FailureMode, Tenant, World } from './world.ts';

export interface Witness {
  readonly sent: number;
  /** No 200, or none at all. */
  readonly failed: number;
  /** What came instead, each kind once. */
  readonly failures: readonly string[];
  /** The engine got what the service would have taken out: nobody had read it. */
  readonly past: number;
  readonly slowestMs: number;
}

/** Dropped by default: whoever still has it has not been read. */
const FIELD = 'priority';

export interface Watching {
  stop(): Promise<Witness>;
}

/** A small request of the victim each `everyMs`, until it is stopped. */
export function watchVictim(world: World, mode: FailureMode = 'open', everyMs = 40): Watching {
  const from = ownAddress();
  const running = new Set<Promise<void>>();
  // The attack is made by this process too: who is held up by it is not held up by what is attacked.
  const stalls = new Stalls();
  let sent = 0;
  let failed = 0;
  const failures = new Set<string>();
  const fail = (how: string): void => {
    failed += 1;
    failures.add(how);
  };
  let slowestMs = 0;
  const bytes = h1Bytes({ as: 'victim', body: chat({ [FIELD]: 7 }) }, from);
  const one = async (): Promise<void> => {
    sent += 1;
    const startMs = performance.now();
    try {
      const connection = await openH1({ port: world.apiPort[mode], from });
      await connection.write(bytes);
      const [answer] = await connection.until(1, 30_000);
      connection.close();
      if (answer?.status !== 200) fail(`${answer?.status ?? 'nothing'} ${answer?.body.toString() ?? ''}`);
    } catch (error) {
      fail(String(error));
    }
    slowestMs = Math.max(slowestMs, stalls.sinceMs(startMs));
  };
  const start = (): void => {
    const running1 = one();
    running.add(running1);
    void running1.finally(() => running.delete(running1));
  };
  start();
  const timer = setInterval(start, everyMs);
  return {
    async stop() {
      clearInterval(timer);
      await Promise.all(running);
      stalls.close();
      const past = world.engine
        .seen()
        .filter((seen) => seen.client === from && jsonOf(seen)?.[FIELD] !== undefined).length;
      return { sent, failed, failures: [...failures], past, slowestMs };
    },
  };
}

/** What is left in a tenant's bucket of tokens. */
export async function remainingTokens(world: World, tenant: Tenant): Promise<number> {
  const from = ownAddress();
  const connection = await openH1({ port: world.apiPort.open, from });
  await connection.write(h1Bytes({ as: tenant, method: 'GET', path: '/v1/models' }, from));
  const [answer] = await connection.until(1);
  connection.close();
  const value = answer?.headers.find(([name]) => name.toLowerCase() === 'x-ratelimit-remaining-tokens')?.[1];
  if (value === undefined)
    throw new Error(`no x-ratelimit-remaining-tokens for ${tenant}: ${answer?.status}`);
  return Number(value);
}
