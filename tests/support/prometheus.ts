/** A Prometheus of the tests' own: Debian's, on a free port, with its storage in a folder that goes away. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { stringify } from 'yaml';
import { debianProgram } from './debian.ts';
import { eventually } from './eventually.ts';
import { freePorts } from './ports.ts';

const PACKAGE = 'prometheus';
const START_MS = 20_000;
/** It ends at once when asked; whoever does not is killed. */
const END_MS = 5_000;

interface ScrapeTarget {
  readonly job: string;
  /** host:port of each replica. */
  readonly targets: readonly string[];
  /** Default: /metrics. */
  readonly path?: string;
}

/** One series of an answer. */
export interface Series {
  readonly labels: Readonly<Record<string, string>>;
  /** Of an instant query one, of a range as many as it has steps: seconds since 1970, and the value. */
  readonly points: readonly (readonly [number, number])[];
}

export interface TestPrometheus {
  readonly url: string;
  /** @param atS seconds since 1970; absent: now. @throws the server's own words, when it refuses the query. */
  query(promql: string, atS?: number): Promise<readonly Series[]>;
  /** @param fromS, toS seconds since 1970. @throws the server's own words, when it refuses the query. */
  queryRange(promql: string, fromS: number, toS: number, stepS: number): Promise<readonly Series[]>;
  /** Health of each scraped target, `up` or `down`, by job. */
  targets(): Promise<ReadonlyMap<string, string>>;
  close(): Promise<void>;
}

export interface PrometheusOptions {
  readonly scrape: readonly ScrapeTarget[];
  /** Files of recording and alert rules. */
  readonly ruleFiles?: readonly string[];
  /** Default: 1 s. */
  readonly interval?: string;
}

interface Answer {
  readonly status: string;
  readonly error?: string;
  readonly data: {
    readonly resultType: string;
    readonly result: readonly {
      readonly metric: Readonly<Record<string, string>>;
      readonly value?: readonly [number, string];
      readonly values?: readonly (readonly [number, string])[];
    }[];
  };
}

async function ask(
  url: string,
  path: string,
  fields: Readonly<Record<string, string>>,
): Promise<Answer['data']> {
  const response = await fetch(`${url}/api/v1/${path}`, {
    method: 'POST',
    body: new URLSearchParams(fields),
  });
  const answer = (await response.json()) as Answer;
  if (answer.status !== 'success') throw new Error(`${answer.error}: ${fields['query']}`);
  return answer.data;
}

function seriesOf({ result, resultType }: Answer['data']): readonly Series[] {
  if (resultType === 'scalar') {
    const [time, value] = result as unknown as readonly [number, string];
    return [{ labels: {}, points: [[time, Number(value)]] }];
  }
  return result.map(({ metric, value, values }) => ({
    labels: metric,
    points: (values ?? (value === undefined ? [] : [value])).map(
      ([time, text]) => [time, Number(text)] as const,
    ),
  }));
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((done) => child.once('exit', done));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), END_MS);
  await ended;
  clearTimeout(timer);
}

/** Starts one; resolves when it is ready to be asked. @throws with its log when it does not get ready. */
export async function startPrometheus(options: PrometheusOptions): Promise<TestPrometheus> {
  const { scrape, ruleFiles = [], interval = '1s' } = options;
  const directory = mkdtempSync(join(tmpdir(), 'fairlane-prometheus-'));
  const [port = 0] = await freePorts(1);
  const config = {
    global: { scrape_interval: interval, scrape_timeout: interval, evaluation_interval: interval },
    rule_files: ruleFiles.map((file) => resolve(file)),
    scrape_configs: scrape.map(({ job, targets, path = '/metrics' }) => ({
      job_name: job,
      metrics_path: path,
      static_configs: [{ targets }],
    })),
  };
  const configPath = join(directory, 'prometheus.yaml');
  writeFileSync(configPath, stringify(config));
  const child = spawn(
    debianProgram('prometheus', PACKAGE),
    [
      `--config.file=${configPath}`,
      `--storage.tsdb.path=${join(directory, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=warn',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let log = '';
  child.stderr?.on('data', (text: Buffer) => {
    log += text.toString();
  });
  const url = `http://127.0.0.1:${port}`;
  const close = async (): Promise<void> => {
    await end(child);
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    await eventually(
      async () =>
        child.exitCode ??
        (await fetch(`${url}/-/ready`).then(
          ({ ok }) => ok,
          () => false,
        )),
      (ready) => {
        if (typeof ready === 'number') throw new Error(`it ended with ${ready}`);
        return ready;
      },
      START_MS,
    );
  } catch (error) {
    await close();
    throw new Error(`Prometheus is not ready: ${log}`, { cause: error });
  }
  return {
    url,
    query: async (query, atS) =>
      seriesOf(await ask(url, 'query', { query, ...(atS !== undefined && { time: String(atS) }) })),
    queryRange: async (query, fromS, toS, stepS) =>
      seriesOf(await ask(url, 'query_range', { query, start: `${fromS}`, end: `${toS}`, step: `${stepS}` })),
    async targets() {
      const response = await fetch(`${url}/api/v1/targets`);
      const { data } = (await response.json()) as {
        readonly data: {
          readonly activeTargets: readonly {
            readonly labels: { readonly job: string };
            readonly health: string;
          }[];
        };
      };
      return new Map(data.activeTargets.map(({ labels, health }) => [labels.job, health]));
    },
    close,
  };
}
