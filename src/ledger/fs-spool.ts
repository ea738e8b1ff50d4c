/**
 * Records on the disk that the database does not have yet. Each is appended here first and removed when the database has it: what
 * was appended survives this process, and what is in both is in the ledger once, by its id.
 *
 * A process writes into a folder of its own. Folders of processes that have ended are taken on. Files are not synchronized while
 * the database takes what comes: it has it before the disk would. While records wait, they are, once a second.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import {
  type FileHandle,
  open,
  readdir,
  readFile,
  rename,
  rm,
  rmdir,
  stat,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { startOf, thisOwner } from './fs-owner.ts';
import { hasEnded, type SpoolOwner } from './owner.ts';
import { isLine } from './row-line.ts';

/** Of one file; it is read as a whole. */
const SEGMENT_BYTES = 4 * 1024 * 1024;
const FORMAT = '1-';
const OWNER_FILE = 'owner';
const FILE_MODE = 0o600;

/** A file that is written to no more. */
interface Sealed {
  readonly path: string;
  readonly bytes: number;
  readonly lines: number;
  /** Unix time of its oldest record, about. */
  readonly sinceMs: number;
}

/** Records that wait, to be given to the database in one go. */
export interface SpoolPart {
  readonly lines: readonly string[];
  /** Lines that a crash has cut. */
  readonly torn: number;
  /** The database has them. */
  done(): Promise<void>;
}

export interface SpoolOptions {
  readonly directory: string;
  readonly maxBytes: number;
  readonly unixMs: () => number;
  /** For tests: writes, or fails. */
  readonly write?: (file: FileHandle, text: string) => Promise<unknown>;
}

const append = (file: FileHandle, text: string): Promise<unknown> => file.appendFile(text);

export class Spool {
  readonly #options: SpoolOptions;
  readonly #root: string;
  readonly #own: string;
  #file: FileHandle | undefined;
  #path = '';
  #number = 0;
  /** Of the file that is written to. */
  #bytes = 0;
  /** In it, and not in the database, in their order. */
  #live: string[] = [];
  #liveSinceMs = 0;
  readonly #sealed: Sealed[] = [];
  #sealedBytes = 0;
  #sealedLines = 0;
  #isUnsynced = false;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: SpoolOptions) {
    this.#options = options;
    this.#root = join(options.directory, 'spool');
    this.#own = join(this.#root, randomUUID());
  }

  /** @throws what keeps the folder from being made. */
  open(): void {
    mkdirSync(this.#own, { recursive: true, mode: 0o700 });
  }

  /** Records that wait. */
  get waiting(): number {
    return this.#sealedLines + this.#live.length;
  }

  get waitingBytes(): number {
    return this.#sealedBytes + this.#bytes;
  }

  /** Unix time since when the oldest one waits; undefined: none does. */
  get oldestMs(): number | undefined {
    return this.#sealed[0]?.sinceMs ?? (this.#live.length > 0 ? this.#liveSinceMs : undefined);
  }

  /**
   * Appends lines.
   *
   * @returns how many of them found room, from the first one on.
   * @throws what node:fs throws; nothing was appended then.
   */
  append(lines: readonly string[]): Promise<number> {
    return this.#alone(() => this.#append(lines));
  }

  async #append(lines: readonly string[]): Promise<number> {
    const room = this.#options.maxBytes - this.waitingBytes;
    let bytes = 0;
    const fitting = lines.findIndex((line) => {
      bytes += Buffer.byteLength(line) + 1;
      return bytes > room;
    });
    const taken = fitting < 0 ? lines : lines.slice(0, fitting);
    if (taken.length === 0) return 0;
    const text = `${taken.join('\n')}\n`;
    const file = await this.#writable();
    try {
      await (this.#options.write ?? append)(file, text);
    } catch (error) {
      // What was written of it is no line.
      await file.truncate(this.#bytes).catch(() => this.#seal());
      throw error;
    }
    this.#bytes += Buffer.byteLength(text);
    if (this.#live.length === 0) this.#liveSinceMs = this.#options.unixMs();
    for (const line of taken) this.#live.push(line);
    this.#isUnsynced = true;
    return taken.length;
  }

  /** One after the other: what is cut must not be appended to meanwhile. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }

  /** The oldest records that wait. Must not be called again before it is done with, or was given up. */
  async next(most: number): Promise<readonly SpoolPart[]> {
    const [oldest] = this.#sealed;
    if (oldest === undefined) return this.#live.length === 0 ? [] : [this.#livePart(most)];
    const text = await readFile(oldest.path, 'utf8');
    const all = text.split('\n').filter((line) => line !== '');
    const lines = all.filter(isLine);
    const parts: SpoolPart[] = [];
    for (let i = 0; i < lines.length; i += most) {
      parts.push({ lines: lines.slice(i, i + most), torn: 0, done: () => Promise.resolve() });
    }
    const torn = all.length - lines.length;
    return [...parts, { lines: [], torn, done: () => this.#forget(oldest) }];
  }

  /** Makes sure that what waits survives a power failure. */
  sync(): Promise<void> {
    return this.#alone(async () => {
      if (!this.#isUnsynced || this.#live.length === 0) return;
      this.#isUnsynced = false;
      await this.#file?.datasync();
    });
  }

  /** Says that this process runs, and takes on what those that have ended have left. */
  async keepUp(): Promise<void> {
    const owner = join(this.#own, OWNER_FILE);
    const now = new Date(this.#options.unixMs());
    await utimes(owner, now, now).catch(() =>
      writeFile(owner, JSON.stringify(thisOwner()), { mode: FILE_MODE }),
    );
    for (const name of await readdir(this.#root)) {
      const folder = join(this.#root, name);
      if (folder !== this.#own && (await this.#isLeft(folder))) await this.#takeOn(folder);
    }
  }

  /** What waits stays on the disk, for the next start. */
  async close(): Promise<void> {
    await this.sync().catch(() => undefined);
    await this.#file?.close();
    this.#file = undefined;
    if (this.waiting > 0) return;
    await rm(this.#own, { recursive: true, force: true });
  }

  async #writable(): Promise<FileHandle> {
    if (this.#file !== undefined && this.#bytes >= SEGMENT_BYTES) await this.#seal();
    if (this.#file !== undefined) return this.#file;
    this.#number += 1;
    this.#path = join(this.#own, `${FORMAT}${String(this.#number).padStart(8, '0')}.jsonl`);
    this.#file = await open(this.#path, 'a', FILE_MODE);
    return this.#file;
  }

  /** Writes to it no more; what waits in it is read again when its turn comes. */
  async #seal(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    this.#add({
      path: this.#path,
      bytes: this.#bytes,
      lines: this.#live.length,
      sinceMs: this.#liveSinceMs,
    });
    this.#bytes = 0;
    this.#live = [];
    await file?.datasync().catch(() => undefined);
    await file?.close().catch(() => undefined);
  }

  #livePart(most: number): SpoolPart {
    const lines = this.#live.slice(0, most);
    const path = this.#path;
    return {
      lines,
      torn: 0,
      done: () => this.#alone(() => this.#liveDone(path, lines.length)),
    };
  }

  async #liveDone(path: string, count: number): Promise<void> {
    // Sealed meanwhile: then all of it comes once more, and changes nothing.
    if (this.#path !== path || this.#file === undefined) return;
    this.#live.splice(0, count);
    this.#liveSinceMs = this.#options.unixMs();
    if (this.#live.length > 0) return;
    await this.#file.truncate(0);
    this.#bytes = 0;
  }

  #add(sealed: Sealed): void {
    this.#sealed.push(sealed);
    this.#sealedBytes += sealed.bytes;
    this.#sealedLines += sealed.lines;
  }

  async #forget(sealed: Sealed): Promise<void> {
    await rm(sealed.path, { force: true });
    this.#sealed.shift();
    this.#sealedBytes -= sealed.bytes;
    this.#sealedLines -= sealed.lines;
  }

  async #isLeft(folder: string): Promise<boolean> {
    const owner = join(folder, OWNER_FILE);
    try {
      const about = await stat(owner).catch(() => stat(folder));
      const silentMs = this.#options.unixMs() - about.mtimeMs;
      return hasEnded(readOwner(owner), thisOwner().namespace, silentMs, startOf);
    } catch {
      return false;
    }
  }

  /** Another process may do so, too: a file is whose rename succeeds. */
  async #takeOn(folder: string): Promise<void> {
    const files = (await readdir(folder).catch(() => [])).filter((file) => file.startsWith(FORMAT));
    for (const file of files.sort()) {
      // A name of the same length, however often it was taken on.
      const path = join(this.#own, `${FORMAT}${randomUUID()}.jsonl`);
      try {
        await rename(join(folder, file), path);
        const text = await readFile(path);
        const lines = text.reduce((sum, byte) => (byte === 0x0a ? sum + 1 : sum), 0);
        const { mtimeMs } = await stat(path);
        this.#add({ path, bytes: text.length, lines, sinceMs: mtimeMs });
      } catch (error) {
        // Another one has it, or it is tried again.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return;
      }
    }
    await rm(join(folder, OWNER_FILE), { force: true }).catch(() => undefined);
    await rmdir(folder).catch(() => undefined);
  }
}

function readOwner(path: string): SpoolOwner | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as SpoolOwner;
  } catch {
    return undefined;
  }
}
