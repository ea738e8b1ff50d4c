/** SQLite: one file, on a thread of its own, so that neither its disk nor its locks hold up a request. */
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { type Database, DatabaseError, type Statement, type StatementResult } from './database.ts';
import { migrate } from './migrate.ts';
import type { DatabaseOptions } from './target.ts';
import type { SqliteAnswer, SqliteRequest, SqliteSettings } from './thread-messages.ts';

interface Waiting {
  readonly resolve: (results: readonly StatementResult[]) => void;
  readonly reject: (error: DatabaseError) => void;
}

/** How this file ends where it is not built: as tests and `npm run fairlane` run it. */
const SOURCE = '.ts';

/** Threads do not inherit the loader of sources. */
function startFromSource(workerData: SqliteSettings): Worker {
  const common = createRequire(import.meta.url).resolve('tsx/esm/api');
  const loader = pathToFileURL(common.replace(/cjs$/, 'mjs')).href;
  const file = new URL('worker-sqlite.ts', import.meta.url).href;
  const code = `import('${loader}').then(({ register }) => { register(); return import('${file}'); });`;
  return new Worker(code, { eval: true, workerData });
}

const startWorker = (workerData: SqliteSettings): Worker =>
  import.meta.url.endsWith(SOURCE)
    ? startFromSource(workerData)
    : new Worker(new URL('worker-sqlite.js', import.meta.url), { workerData });

export const openSqlite = (path: string, options: DatabaseOptions): Database =>
  new SqliteDatabase(path, options);

class SqliteDatabase implements Database {
  readonly dialect = 'sqlite';
  readonly shown: string;
  readonly #settings: SqliteSettings;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | undefined;
  #nextId = 1;
  #isClosed = false;

  constructor(path: string, { readOnly = false }: DatabaseOptions) {
    this.shown = path;
    this.#settings = { path, readOnly };
  }

  readonly batch = (statements: readonly Statement[]): Promise<readonly StatementResult[]> => {
    if (this.#isClosed) return Promise.reject(new DatabaseError('away', `${this.shown}: it is closed`));
    const worker = (this.#worker ??= this.#start());
    const id = this.#nextId;
    this.#nextId += 1;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      // What a service waits for keeps it running; an idle database does not.
      worker.ref();
      worker.postMessage({ id, statements } satisfies SqliteRequest);
    });
  };

  migrate: Database['migrate'] = (feature, migrations) => migrate(this, feature, migrations);

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const worker = this.#worker;
    if (worker === undefined) return;
    worker.ref();
    const ended = new Promise((resolve) => worker.once('exit', resolve));
    worker.postMessage('close' satisfies SqliteRequest);
    await ended;
  }

  #start(): Worker {
    const worker = startWorker(this.#settings);
    let problem = 'its thread has ended';
    worker.on('message', (answer: SqliteAnswer) => this.#answered(worker, answer));
    worker.once('error', (error) => {
      problem = error instanceof Error ? error.message : String(error);
    });
    worker.once('exit', () => {
      if (this.#worker === worker) this.#worker = undefined;
      const waiting = [...this.#waiting.values()];
      this.#waiting.clear();
      for (const { reject } of waiting) reject(new DatabaseError('away', `${this.shown}: ${problem}`));
    });
    return worker;
  }

  #answered(worker: Worker, answer: SqliteAnswer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (this.#waiting.size === 0 && !this.#isClosed) worker.unref();
    if ('results' in answer) waiting?.resolve(answer.results);
    else waiting?.reject(new DatabaseError(answer.kind, `${this.shown}: ${answer.problem}`));
  }
}
