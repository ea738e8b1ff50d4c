/** What is open in this process: timers (those too that do not keep it alive), sockets, servers, watches and children. */
import { createHook } from 'node:async_hooks';
import { eventually } from './eventually.ts';

const KINDS = new Set([
  'Timeout',
  'TCPWRAP',
  'TCPSERVERWRAP',
  'PIPEWRAP',
  'PIPESERVERWRAP',
  'FSEVENTWRAP',
  'STATWATCHER',
  'PROCESSWRAP',
]);
/** The test runner's own, which come and go. */
const RUNNER = /node_modules\/(vitest|@vitest|tinypool|vite)\//;
const OURS = /\/(src|node_modules\/ioredis)\//;

export interface LeftOpen {
  /** Rejects, saying where each was opened, unless everything is closed soon that was opened since the last call. */
  nothing(): Promise<void>;
  stop(): void;
}

/** Watches from now on. */
export function watchOpen(): LeftOpen {
  let open = new Map<number, string>();
  const hook = createHook({
    init(id, kind) {
      if (!KINDS.has(kind)) return;
      const { stackTraceLimit } = Error;
      Error.stackTraceLimit = 40;
      const { stack = '' } = new Error(kind);
      Error.stackTraceLimit = stackTraceLimit;
      if (RUNNER.test(stack) && !OURS.test(stack)) return;
      open.set(id, `${kind}: ${stack.split('\n').slice(2, 12).join('\n')}`);
    },
    destroy(id) {
      open.delete(id);
    },
  }).enable();
  const before = process.getActiveResourcesInfo();
  /** Resources that there were not before, by their kind. */
  const more = (): readonly string[] => {
    const known = [...before];
    return process.getActiveResourcesInfo().filter((kind) => {
      const at = known.indexOf(kind);
      if (at >= 0) known.splice(at, 1);
      return at < 0;
    });
  };
  return {
    async nothing() {
      await eventually(
        () => [...open.values()],
        (left) => left.length === 0,
        2_000,
      );
      await eventually(more, (kinds) => kinds.length === 0, 2_000);
      open = new Map();
    },
    stop() {
      hook.disable();
    },
  };
}
