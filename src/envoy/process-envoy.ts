/** Runs an Envoy as a child, and makes sure that it never outlives this process. */
import { spawn } from 'node:child_process';
import { request } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { AdminAddress } from '../config/config.ts';
import { replaceOwnFile } from '../files/fs-own.ts';
import type { JsonMap } from './envoy-json.ts';
import { writeDynamicFile } from './fs-dynamic-files.ts';
import type { EnvoyBinary } from './process-find-envoy.ts';
import { LISTENERS_FILE, NO_LISTENERS, withWatchedListeners } from './watched-listeners.ts';

export interface StartEnvoyOptions {
  readonly envoy: EnvoyBinary;
  readonly bootstrap: JsonMap;
  /** Where the bootstrap and its listeners are written; the dynamic files are there already. */
  readonly directory: string;
  readonly admin: AdminAddress;
  /** Worker threads; default: one per core. */
  readonly concurrency?: number;
  readonly onLog: (line: string) => void;
}

export interface RunningEnvoy {
  /** Envoy's own process; with Docker, the client's. */
  readonly pid: number;
  readonly exited: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  /** Takes no new connections, once this resolves; what is open goes on. @param mostMs to wait for it. */
  drainListeners(mostMs?: number): Promise<void>;
  /** SIGTERM, and SIGKILL after the deadline. */
  stop(deadlineMs: number): Promise<void>;
  kill(): void;
}

const READY_MS = 30_000;
const READY_CHECK_MS = 50;
const LAST_LINES = 20;
/** For a listener that is taken away to be gone. */
const DRAIN_MS = 2_000;
/** What is open when the listeners are drained has so long to end: whoever stops Envoy decides, not Envoy. */
const OPEN_AFTER_DRAIN_S = 86_400;
/** Time for the log's last lines to arrive after the end. */
const LAST_LINES_MS = 50;

/**
 * The shell waits for Envoy and for its own fd 3, whose other end this process holds: it closes when this process ends,
 * however it ends. The first line on stdout is Envoy's process id.
 */
const GUARD = `
"$@" </dev/null 1>&2 3<&- &
envoy=$!
echo "$envoy"
( cat <&3 >/dev/null; kill -KILL "$envoy" 2>/dev/null ) >/dev/null 2>&1 &
guard=$!
exec 3<&-
wait "$envoy"
code=$?
kill "$guard" 2>/dev/null
exit "$code"
`;

function admin(address: AdminAddress, path: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        ...('path' in address ? { socketPath: address.path } : { host: address.host, port: address.port }),
        path,
        agent: false,
        signal: AbortSignal.timeout(2_000),
      },
      (incoming) => {
        let body = '';
        incoming.setEncoding('utf8');
        incoming.on('data', (part: string) => {
          body += part;
        });
        incoming.on('end', () => resolve({ status: incoming.statusCode ?? 0, body }));
      },
    );
    outgoing.on('error', reject);
    outgoing.end();
  });
}

/** What the log's last lines mean, where that is known. */
function explain(lines: readonly string[]): string {
  const inUse = lines
    .map((line) => /cannot bind '([^']+)': Address already in use/.exec(line)?.[1])
    .find(Boolean);
  if (inUse !== undefined)
    return `${inUse} is in use; stop what listens there or choose another address in the configuration`;
  return `its last words:\n${lines.map((line) => `  ${line}`).join('\n')}`;
}

/**
 * Starts Envoy and waits until it serves.
 *
 * @throws when it ends before, or does not serve within 30 s; the message says why.
 */
export async function startEnvoy(options: StartEnvoyOptions): Promise<RunningEnvoy> {
  const { directory, admin: address } = options;
  const bootstrapPath = join(directory, 'bootstrap.json');
  const { bootstrap, listeners, names } = withWatchedListeners(options.bootstrap, directory);
  writeDynamicFile(directory, LISTENERS_FILE, listeners);
  replaceOwnFile(bootstrapPath, JSON.stringify(bootstrap));
  const envoy = new EnvoyProcess(commandOf(options, bootstrapPath), directory, address, options.onLog);
  await envoy.started();
  await envoy.ready(names);
  return envoy;
}

const commandOf = (
  { envoy, directory, concurrency }: StartEnvoyOptions,
  bootstrapPath: string,
): readonly string[] => [
  ...envoy.command,
  ...(envoy.mount?.(directory) ?? []),
  ...['--config-path', bootstrapPath, '--log-level', 'warning', '--disable-hot-restart'],
  // A warning for each message of an API that Envoy calls work in progress, at every start: api_key_auth is one.
  ...['--component-log-level', 'misc:error'],
  // A connection is closed after its next answer, and not at random over the time of the drain.
  ...['--drain-strategy', 'immediate', '--drain-time-s', String(OPEN_AFTER_DRAIN_S)],
  ...(concurrency === undefined ? [] : ['--concurrency', String(concurrency)]),
];

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, READY_CHECK_MS));

class EnvoyProcess implements RunningEnvoy {
  readonly exited: RunningEnvoy['exited'];
  /** 0 until it has started, and if it did not. */
  pid = 0;
  readonly #directory: string;
  readonly #address: AdminAddress;
  readonly #started: Promise<number>;
  readonly #lastLines: string[] = [];
  #ended = false;

  constructor(
    command: readonly string[],
    directory: string,
    address: AdminAddress,
    onLog: (line: string) => void,
  ) {
    this.#directory = directory;
    this.#address = address;
    const child = spawn('/bin/sh', ['-c', GUARD, 'fairlane-envoy', ...command], {
      // Its own group: the terminal's Ctrl-C is for this process, which lets running requests finish first.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    });
    const { stdout, stderr } = child;
    if (stdout === null || stderr === null) throw new Error('no pipes to Envoy');
    createInterface(stderr).on('line', (line) => {
      this.#lastLines.push(line);
      if (this.#lastLines.length > LAST_LINES) this.#lastLines.shift();
      onLog(line);
    });
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        // The guard reads from this pipe until it is closed, and would keep the child's pipes open.
        child.stdio[3]?.destroy();
        setTimeout(() => {
          this.#ended = true;
          resolve({ code, signal });
        }, LAST_LINES_MS);
      });
      child.once('error', () => resolve({ code: null, signal: null }));
    });
    this.#started = new Promise<number>((resolve) => {
      createInterface(stdout).once('line', (line) => resolve(Number(line)));
      void this.exited.then(() => resolve(0));
    });
  }

  /** Resolves when it has a process id, or has ended. */
  async started(): Promise<void> {
    this.pid = await this.#started;
  }

  /** Resolves when it serves on all of these listeners. @throws when it ends before, or takes too long. */
  async ready(listeners: readonly string[]): Promise<void> {
    const until = Date.now() + READY_MS;
    for (;;) {
      if (this.#ended) throw new Error(`Envoy did not start: ${explain(this.#lastLines)}`);
      if (await this.#serves(listeners)) return;
      if (Date.now() > until) {
        this.#send('SIGKILL');
        throw new Error(`Envoy was not ready in ${READY_MS / 1_000} s: ${explain(this.#lastLines)}`);
      }
      await pause();
    }
  }

  async drainListeners(mostMs = DRAIN_MS): Promise<void> {
    const drained = Date.now() + Math.min(mostMs, DRAIN_MS);
    try {
      writeDynamicFile(this.#directory, LISTENERS_FILE, NO_LISTENERS);
      while ((await this.#listening()).size > 0 && Date.now() < drained) await pause();
    } catch {
      // It is gone, and so are its listeners.
    }
  }

  async stop(deadlineMs: number): Promise<void> {
    this.#send('SIGTERM');
    const timer = setTimeout(() => this.#send('SIGKILL'), deadlineMs);
    await this.exited;
    clearTimeout(timer);
  }

  kill(): void {
    this.#send('SIGKILL');
  }

  /** Whether it is this Envoy that is ready: another one's admin page may answer while this one is about to end. */
  async #serves(listeners: readonly string[]): Promise<boolean> {
    try {
      const { status } = await admin(this.#address, '/ready');
      if (status !== 200 || this.#hasEnded() || !(await this.#isListening(listeners))) return false;
      await pause();
      return !this.#hasEnded();
    } catch {
      // Not listening yet.
      return false;
    }
  }

  /** A listener that Envoy cannot have, because its address is taken, does not end it: this does. */
  async #isListening(listeners: readonly string[]): Promise<boolean> {
    const active = await this.#listening();
    if (listeners.every((name) => active.has(name))) return true;
    const { body } = await admin(this.#address, '/stats?filter=^listener_manager.lds.update_rejected$');
    if (/: 0\s*$/.test(body)) return false;
    this.#send('SIGKILL');
    await this.exited;
    return false;
  }

  async #listening(): Promise<ReadonlySet<string>> {
    const { body } = await admin(this.#address, '/listeners?format=json');
    const { listener_statuses: statuses } = JSON.parse(body) as {
      readonly listener_statuses?: readonly { readonly name: string }[];
    };
    return new Set((statuses ?? []).map(({ name }) => name));
  }

  #hasEnded(): boolean {
    return this.#ended;
  }

  #send(signal: NodeJS.Signals): void {
    if (this.#ended || this.pid === 0) return;
    try {
      process.kill(this.pid, signal);
    } catch {
      // Gone in this moment.
    }
  }
}
