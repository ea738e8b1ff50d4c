/**
 * `node --import tsx tests/prove/flood.ts [seconds]`: one tenant sends the worst bodies on several connections, failing open,
 * while another sends small requests. Prints one line of JSON: of the other's requests none may fail, and none may reach an
 * engine unread. What was unread still has the field that the service takes out.
 */

import { fileURLToPath } from 'node:url';
import { createRandom } from '../../src/loadtest/load.ts';
import { openH1 } from '../hostile/support/h1.ts';
import { h1Bytes, ownAddress } from '../hostile/support/vectors.ts';
import { type Witness, watchVictim } from '../hostile/support/victim.ts';
import { startWorld, type World } from '../hostile/support/world.ts';
import { WORST_BODIES } from '../hostile/support/worst-bodies.ts';

export interface FloodOptions {
  readonly seconds: number;
  /** Of the tenant who floods. */
  readonly connections: number;
  /** Of the order of the bodies. */
  readonly seed: number;
}

export interface FloodResult extends Witness {
  readonly seconds: number;
  /** Worst bodies that were sent, and how often what was answered. */
  readonly bodies: number;
  readonly answers: Readonly<Record<string, number>>;
}

const EVERY_MS = 25;
/** So many kinds at once: each takes its size in memory. */
const KINDS = 12;
/** What is larger was the flood's: it need not be kept. */
const LARGE = 100_000;

export async function flood(
  world: World,
  { seconds, connections, seed }: FloodOptions,
): Promise<FloodResult> {
  const random = createRandom(seed);
  const from = ownAddress();
  const order = WORST_BODIES.map((body) => ({ body, at: random() })).toSorted((a, b) => a.at - b.at);
  const requests = order
    .slice(0, KINDS)
    .map(({ body: { path, make } }) => h1Bytes({ path, body: make() }, from));
  const answers: Record<string, number> = {};
  let bodies = 0;
  const untilMs = performance.now() + seconds * 1_000;
  const watching = watchVictim(world, 'open', EVERY_MS);
  const pruning = setInterval(() => world.engine.forget(LARGE), 250);
  const one = async (): Promise<void> => {
    while (performance.now() < untilMs) {
      const request = requests[Math.floor(random() * requests.length)];
      if (request === undefined) return;
      let status = 0;
      try {
        const connection = await openH1({ port: world.apiPort.open, from });
        void connection.write(request);
        const [answer] = await connection.until(1, 30_000);
        status = answer?.status ?? 0;
        connection.close();
      } catch {
        // Counted as no answer.
      }
      bodies += 1;
      answers[status] = (answers[status] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: connections }, one));
  const witness = await watching.stop();
  clearInterval(pruning);
  return { seconds, bodies, answers, ...witness };
}

/** @returns whether none of the other's requests failed or passed unread. */
export async function run(seconds = 60): Promise<boolean> {
  const world = await startWorld();
  try {
    const result = await flood(world, { seconds, connections: 8, seed: 11 });
    console.log(JSON.stringify({ proof: 'flood', ...result }));
    return result.failed === 0 && result.past === 0;
  } finally {
    await world.close();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const isProved = await run(process.argv[2] === undefined ? 60 : Number(process.argv[2]));
  process.exitCode = isProved ? 0 : 1;
}
