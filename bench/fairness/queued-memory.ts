/** Memory of queued requests: `fairlane serve` as it runs in production, and an ext_proc stream for each request. */
import { CHAT_HEADERS, requestBody } from '../ext-proc-client.ts';
import { startExtProcService } from '../ext-proc-service.ts';

const BODY_BYTES = 2_048;
const BATCH = 100;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const ENVELOPE = '{"model":"m","stream":true,"messages":[{"role":"user","content":""}]}';
function bodyOf(i: number): object {
  const content = `${i} ${'word '.repeat(BODY_BYTES / 5)}`.slice(0, BODY_BYTES - ENVELOPE.length);
  const body = JSON.stringify({ model: 'm', stream: true, messages: [{ role: 'user', content }] });
  return requestBody(body);
}

/**
 * Resident memory of the service with `count` requests queued, less what it had before, in MB.
 *
 * @param program of another version; absent: this one's.
 */
export async function queuedMemory(
  count: number,
  program = 'dist/cli/index.js',
): Promise<{ readonly mb: number; readonly beforeMb: number }> {
  const service = await startExtProcService({ program, slots: 1, maxQueued: 2 * count });
  try {
    const open = async (from: number, to: number): Promise<void> => {
      for (let i = from; i < to; i += BATCH) {
        const size = Math.min(BATCH, to - i);
        // Two replies: go on with the headers, and wait or go on with the body.
        await Promise.all(
          Array.from({ length: size }, (_, k) => service.exchange([CHAT_HEADERS, bodyOf(i + k)], 2, false)),
        );
      }
    };
    // The first requests load code, and grow the heap once.
    await open(0, 200);
    await sleep(500);
    const beforeMb = service.residentMb();
    await open(200, 200 + count);
    await sleep(1_000);
    const queued = await service.queued();
    if (queued < count) throw new Error(`${queued} requests are queued, not ${count}`);
    return { mb: service.residentMb() - beforeMb, beforeMb };
  } finally {
    await service.close();
  }
}
