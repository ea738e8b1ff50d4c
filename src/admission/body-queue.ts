/**
 * Bodies that are too large to be read at once: one step at a time, so that none of them makes others wait.
 *
 * Invariants: a turn of the event loop reads for STEP_MS at most, of one body; tenants take turns, so that one who
 * sends many large bodies waits for himself; a body that is not wanted any more is not read on. While nobody waits, a
 * turn may read one more at once, for ONCE_MS: that suffices for an ordinary long prompt, and spares the proxy a
 * message and the request two turns.
 */
import type { NameTable } from '../openai/json/names.ts';
import { JsonReader, type Reading, readJson } from '../openai/json/reader.ts';

/** Bodies up to this size are read in the turn that they come in: that takes well under STEP_MS. */
const AT_ONCE_BYTES = 32_768;
/** Larger ones are not worth the try. */
const MOST_ONCE_BYTES = 524_288;
const ONCE_MS = 1;
/** Of one turn. */
const STEP_MS = 4;

/** A fault of ours, as when there is no memory left: nothing is known of the body. */
const UNREADABLE: Reading = { kind: 'bad', message: 'The request body could not be read. Please try again.' };

export interface BodyQueueOptions {
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Calls back in a later turn of the event loop, when what has come in meanwhile has been looked at. */
  readonly later: (callback: () => void) => void;
  /** Whoever took a body failed. It costs that request. */
  readonly onBug: (error: unknown) => void;
}

export interface BodyReading {
  /** It is not wanted any more: it is not read on, and `done` is not called. */
  cancel(): void;
}

/** Work on a body that is done a step at a time, each well under STEP_MS. */
export interface Steps<Result> {
  /** @returns undefined: there is more to do. */
  step(): Result | undefined;
}

interface Job extends BodyReading {
  readonly tenant: string;
  readonly work: Steps<() => void>;
  /** Of what cannot be done, by a fault of ours. */
  readonly fail: () => void;
  cancelled: boolean;
}

export class BodyQueue {
  private readonly options: BodyQueueOptions;
  /** By tenant, in the order of their turns: a tenant's first is the next. */
  private readonly waiting = new Map<string, Job[]>();
  private isScheduled = false;
  /** This turn has tried one at once. */
  private hasTried = false;
  /** What it has read of that one, until its turns begin: it is not read twice. */
  private begun:
    | { readonly bytes: Uint8Array; readonly names: NameTable; readonly reader: JsonReader }
    | undefined = undefined;

  constructor(options: BodyQueueOptions) {
    this.options = options;
  }

  /** Bodies that are being read or wait for it. */
  size(): number {
    let size = 0;
    for (const jobs of this.waiting.values()) size += jobs.length;
    return size;
  }

  /** What is read of a body in this turn; undefined: it has to wait for its own. */
  atOnce(bytes: Uint8Array, names: NameTable): Reading | undefined {
    if (bytes.length <= AT_ONCE_BYTES) return readJson(bytes, names);
    if (this.hasTried || this.waiting.size > 0 || bytes.length > MOST_ONCE_BYTES) return undefined;
    const { now, later } = this.options;
    this.hasTried = true;
    later(() => {
      this.hasTried = false;
      this.begun = undefined;
    });
    const reader = new JsonReader(bytes, names);
    const until = now() + ONCE_MS;
    let result: Reading | undefined;
    do result = reader.step();
    while (result === undefined && now() < until);
    if (result === undefined) this.begun = { bytes, names, reader };
    return result;
  }

  /** @param done called once, in a later turn. */
  read(
    tenant: string,
    bytes: Uint8Array,
    names: NameTable,
    done: (result: Reading, nowMs: number) => void,
  ): BodyReading {
    const { begun } = this;
    this.begun = undefined;
    const isBegun = begun?.bytes === bytes && begun.names === names;
    const reader = isBegun ? begun.reader : new JsonReader(bytes, names);
    return this.run(tenant, reader, UNREADABLE, done);
  }

  /**
   * Does other work on a body, in the same turns.
   *
   * @param failed what it comes to where a step throws.
   * @param done called once, in a later turn.
   */
  run<Result>(
    tenant: string,
    work: Steps<Result>,
    failed: Result,
    done: (result: Result, nowMs: number) => void,
  ): BodyReading {
    const { now } = this.options;
    const job: Job = {
      tenant,
      work: {
        step() {
          const result = work.step();
          return result === undefined ? undefined : () => done(result, now());
        },
      },
      fail: () => done(failed, now()),
      cancelled: false,
      cancel: () => this.cancel(job),
    };
    const jobs = this.waiting.get(tenant);
    if (jobs === undefined) this.waiting.set(tenant, [job]);
    else jobs.push(job);
    this.schedule();
    return job;
  }

  private cancel(job: Job): void {
    job.cancelled = true;
    const jobs = this.waiting.get(job.tenant)?.filter((one) => one !== job) ?? [];
    if (jobs.length === 0) this.waiting.delete(job.tenant);
    else this.waiting.set(job.tenant, jobs);
  }

  private schedule(): void {
    if (this.isScheduled || this.waiting.size === 0) return;
    this.isScheduled = true;
    this.options.later(() => {
      this.isScheduled = false;
      this.turn();
      this.schedule();
    });
  }

  private turn(): void {
    const [next] = this.waiting;
    if (next === undefined) return;
    const [tenant, jobs] = next;
    const [job] = jobs;
    // Behind the others, with what is left of it.
    this.waiting.delete(tenant);
    if (job === undefined) return;
    this.waiting.set(tenant, jobs);
    const { now, later, onBug } = this.options;
    const until = now() + STEP_MS;
    let finish: (() => void) | undefined;
    try {
      do finish = job.work.step();
      while (finish === undefined && now() < until);
    } catch (error) {
      onBug(error);
      finish = job.fail;
    }
    if (finish === undefined) return;
    jobs.shift();
    if (jobs.length === 0) this.waiting.delete(tenant);
    // In a turn of its own: what is made of a body takes time too.
    const finished = finish;
    later(() => {
      if (job.cancelled) return;
      try {
        finished();
      } catch (error) {
        onBug(error);
      }
    });
  }
}
