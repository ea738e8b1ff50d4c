/** The service of one checkout as a process, and a driver that plays Envoy before it. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from '../../tests/support/ports.ts';
import { type CliProcess, runCli } from '../../tests/support/serve.ts';
import { connect, type ExtProcClient } from '../ext-proc-client.ts';

/** Envoy has a connection to the service for each of its threads. */
const CONNECTIONS = 4;
/** Requests at one time. */
const CONCURRENCY = 16;
const HEALTHY_MS = 20_000;
/** What a request leaves behind (its record, a batch of the ledger) is its own work too. */
const SETTLE_MS = 500;

/** What a service has beside what is measured always. */
export interface CheckoutOptions {
  readonly hasLedger?: boolean;
  /** Base URL of the collector that gets the spans of all requests. Absent: nothing is traced. */
  readonly collector?: string;
}

/** The messages of one request; each is sent when the one before it was answered. */
export type Exchange = readonly object[];

interface Health {
  readonly pools: Readonly<Record<string, { readonly healthy: number }>>;
}

export class Checkout {
  readonly #serve: CliProcess;
  readonly #clients: readonly ExtProcClient[];
  readonly #adminUrl: string;
  readonly #directory: string;

  private constructor(serve: CliProcess, service: number, metrics: number, directory: string) {
    this.#serve = serve;
    this.#clients = Array.from({ length: CONNECTIONS }, () => connect(service));
    this.#adminUrl = `http://127.0.0.1:${metrics}`;
    this.#directory = directory;
  }

  /**
   * Starts the build of a checkout.
   *
   * @param engine URL of something that answers 200 to health checks: no request gets there.
   * @throws when there is no build.
   */
  static async start(root: string, engine: string, options: CheckoutOptions = {}): Promise<Checkout> {
    const { hasLedger, collector } = options;
    const program = join(root, 'dist/cli/index.js');
    if (!existsSync(program)) throw new Error(`${program} is not there; run "npm run build" in ${root}`);
    const directory = mkdtempSync(join(tmpdir(), 'fairlane-bench-'));
    const [service = 0, metrics = 0] = await freePorts(2);
    const path = join(directory, 'fairlane.yaml');
    const config = {
      // A body without a length counts as the largest one.
      envoy: { directory, maxBodySize: '1MiB' },
      service: { address: `127.0.0.1:${service}`, metrics: `127.0.0.1:${metrics}` },
      // The key's first name, which every version takes. Nobody waits: neither for a slot nor for others' prompts.
      pools: { main: { endpoints: [engine], windowPerEndpoint: 1_000, prefillTokens: 1_000_000 } },
      models: { m: { pool: 'main' } },
      tenants: { a: { keys: ['k'.repeat(32)] } },
      ...(hasLedger === true && { ledger: { directory: join(directory, 'ledger') } }),
      ...(collector !== undefined && { telemetry: { otlp: { endpoint: collector } } }),
    };
    writeFileSync(path, JSON.stringify(config));
    const serve = runCli(['serve', '--config', path], process.env, [program]);
    await serve.until('serving ext_proc');
    const checkout = new Checkout(serve, service, metrics, directory);
    await checkout.#untilHealthy();
    return checkout;
  }

  /** Of `service.metrics`. */
  get metricsUrl(): string {
    return this.#adminUrl;
  }

  /** Runs exchanges, several at a time. @returns CPU time of the service, in µs an exchange. */
  async measure(exchange: Exchange, count: number): Promise<number> {
    const beforeUs = await this.#cpuUs();
    await this.run(exchange, count);
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    return ((await this.#cpuUs()) - beforeUs) / count;
  }

  async run(exchange: Exchange, count: number): Promise<void> {
    let left = count;
    const worker = async (client: ExtProcClient | undefined): Promise<void> => {
      if (client === undefined) throw new Error('there is no connection');
      while (left > 0) {
        left -= 1;
        await talk(client, exchange);
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, (_, i) => worker(this.#clients[i % CONNECTIONS])));
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.close();
    this.#serve.child.kill('SIGKILL');
    await this.#serve.exited;
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** Spans that came to the collector, of all that there were; NaN: there was none. */
  async exportedShare(): Promise<number> {
    const page = await this.#metrics();
    let [exported, all] = [0, 0];
    for (const [, result, spans] of page.matchAll(/^fairlane_trace_spans_total\{result="(\w+)"\} (\S+)/gm)) {
      if (result === 'exported') exported += Number(spans);
      all += Number(spans);
    }
    return exported / all;
  }

  async #metrics(): Promise<string> {
    return (await fetch(`${this.#adminUrl}/metrics`)).text();
  }

  async #cpuUs(): Promise<number> {
    const [, seconds] = /^fairlane_process_cpu_seconds_total (\S+)/m.exec(await this.#metrics()) ?? [];
    return 1e6 * Number(seconds ?? Number.NaN);
  }

  async #untilHealthy(): Promise<void> {
    const deadline = Date.now() + HEALTHY_MS;
    for (;;) {
      const health = (await (await fetch(`${this.#adminUrl}/health`)).json()) as Health;
      if (health.pools['main']?.healthy === 1) return;
      if (Date.now() > deadline) throw new Error(`no healthy endpoint:\n${this.#serve.stdout()}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

/** @throws when the service answers with something else than a reply of the same kind. */
function talk(client: ExtProcClient, exchange: Exchange): Promise<void> {
  return new Promise((resolve, reject) => {
    const call = client.Process();
    let at = 0;
    const next = (): void => {
      const message = exchange[at];
      if (message === undefined) call.end();
      else call.write(message);
    };
    call.on('data', ({ response }) => {
      // It asks for more time: the reply comes later.
      if (response === undefined) return;
      const [kind = 'the end'] = Object.keys(exchange[at] ?? {});
      if (response !== kind) {
        reject(new Error(`${kind} was answered with ${response}`));
        call.cancel();
        return;
      }
      at += 1;
      next();
    });
    call.on('error', reject);
    call.on('end', resolve);
    next();
  });
}
