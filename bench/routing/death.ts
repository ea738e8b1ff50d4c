/** One of four engines dies under load, behind a real Envoy: what clients see of it. */
import { startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, send } from '../../tests/support/client.ts';
import { KEYS, startStack } from '../../tests/support/stack.ts';

const ENGINES = 4;
const CLIENTS_EACH = 8;
const BEFORE_MS = 1_000;
const AFTER_MS = 2_000;
/** On a machine that is slower, it lasts until so many were sent on each side of the death. */
const LEAST_EACH = 100;

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Two tenants ask as fast as they are answered, each answer in one piece: none has headers before its last token.
 *
 * @returns requests that ended, and those of them that were not answered with 200.
 */
export async function measureDeath(): Promise<{ readonly failed: number; readonly requests: number }> {
  const engines = await Promise.all(
    Array.from({ length: ENGINES }, () =>
      startSimulator({ profile: parseProfile('test', { stepBaseMs: 10 }), models: ['demo', 'embedder'] }),
    ),
  );
  const stack = await startStack({ engines: engines.map(({ url }) => url) });
  let requests = 0;
  let failed = 0;
  let stopped = false;
  const client = async (key: string): Promise<void> => {
    while (!stopped) {
      const { status } = await send(stack.url, { key, body: chatBody({ max_tokens: 10 }) }).catch(() => ({
        status: 0,
      }));
      requests += 1;
      if (status !== 200) failed += 1;
    }
  };
  const clients = Object.values(KEYS).flatMap((key) =>
    Array.from({ length: CLIENTS_EACH }, () => client(key)),
  );
  const pass = async (ms: number): Promise<void> => {
    const least = requests + LEAST_EACH;
    await sleep(ms);
    while (requests <= least) await sleep(20);
  };
  await pass(BEFORE_MS);
  await engines[1]?.close();
  await pass(AFTER_MS);
  stopped = true;
  await Promise.all(clients);
  await stack.close();
  await Promise.all(engines.map((engine) => engine.close()));
  return { failed, requests };
}
