/**
 * One version of the service in a process of its own, compiled: ext_proc messages in, answers out, without a wire. Told by
 * its parent which messages to play, how often, and with how many requests that wait.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const built = process.argv[2] ?? '';
const from = (path) => import(pathToFileURL(join(built, path)).href);

/** The module in the folder that exports a function whose name matches: names have changed since the baseline. */
async function find(folder, pattern) {
  for (const file of readdirSync(join(built, folder)).sort()) {
    if (!file.endsWith('.js')) continue;
    const module = await from(join(folder, file));
    const name = Object.keys(module).find((one) => pattern.test(one));
    if (name !== undefined) return module[name];
  }
  throw new Error(`no ${pattern} in ${folder}`);
}

const createWorld = await find('tests/support', /^createWorld$/);
const createRequest = await find('src/admission', /^createRequestLife/);
const { createExtProcService } = await from('src/ext-proc/grpc-ext-proc.js');

const failed = (detail) => {
  throw new Error(detail);
};

function serviceOver(world) {
  const open = (edge) => createRequest(world.context, edge);
  return createExtProcService({
    createLife: open,
    openRequest: open,
    now: () => performance.now(),
    draining: () => false,
    onMisconfigured: failed,
    onStreamError: failed,
  });
}

let written = 0;
const stream = { write: () => void (written += 1), end: () => undefined };

/** A frame's view of its message, as the server gives it: a copy each time, as bodies are kept. */
const play = (service, messages) => {
  const handler = service.methods.Process.open({ ...stream });
  for (const message of messages) handler.onMessage(Buffer.from(message));
  return handler;
};

const finish = (handler) => {
  handler.onEnd();
  handler.onClose();
};

const BATCH = 50;
const timed = {
  /** CPU of requests that come one after another. */
  once(messages, count) {
    const service = serviceOver(createWorld({ window: 1_000_000 }));
    const before = process.cpuUsage();
    for (let i = 0; i < count; i += 1) finish(play(service, messages));
    return process.cpuUsage(before);
  },
  /** CPU of requests that wait for the one slot, a batch at a time, and go one by one. */
  queued(messages, count) {
    const limits = { maxQueued: 1_000 };
    const world = createWorld({ window: 1, limits });
    const service = serviceOver(world);
    const [head, body, ...answer] = messages;
    const before = process.cpuUsage();
    for (let i = 0; i < count; i += BATCH) {
      const waiting = [];
      for (let k = 0; k < BATCH; k += 1) waiting.push(play(service, [head, body]));
      for (const handler of waiting) {
        for (const message of answer) handler.onMessage(Buffer.from(message));
        finish(handler);
      }
    }
    return process.cpuUsage(before);
  },
};

/** Bytes of the heap, and outside of it, for each request that waits. */
function memory(messages, count) {
  const change = (config) => ({ ...config, queue: { ...config.queue, maxQueued: 2 * count } });
  const service = serviceOver(createWorld({ window: 1, limits: { maxQueued: 2 * count }, change }));
  const [head, body] = messages;
  const used = () => {
    globalThis.gc();
    globalThis.gc();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  const handlers = [play(service, [head, body])];
  const before = used();
  for (let i = 0; i < count; i += 1) handlers.push(play(service, [head, body]));
  const bytes = (used() - before) / count;
  for (const handler of handlers) finish(handler);
  return bytes;
}

process.on('message', ({ what, messages, count }) => {
  if (what === 'memory') process.send(memory(messages, count));
  else {
    const { user, system } = timed[what](messages, count);
    if (written === 0) throw new Error('nothing was answered');
    process.send((user + system) / count);
  }
});
process.send('ready');
