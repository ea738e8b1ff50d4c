/** Owns the configuration in use, and takes over new ones: one after another. What may fail is done before the first part of one is in use. */
import { type ConfigSource, restartNeeded, sourceChanges } from '../config/changes.ts';
import type { Config } from '../config/config.ts';
import { messageOf } from '../domain/text-of.ts';
import type { ServiceEvent } from '../telemetry/telemetry.ts';

/** How a configuration is taken over. `Addresses`: what its names stand for. */
export interface ReloadSteps<Addresses> {
  /** Looks up the names of a configuration, and watches those from now on. Never rejects. */
  resolve(config: Config): Promise<Addresses>;
  /** Does what may fail, before anything else sees the configuration. @throws what keeps it from being taken over. */
  prepare(next: Config, addresses: Addresses): void;
  /** Tells everybody. The reloader has the new configuration already. */
  apply(next: Config, addresses: Addresses, before: Config): void;
  /** Tells everybody but Envoy of tenants that changed. */
  applyTenants?(next: Config): void;
  /** Tells Envoy of them. @throws when it cannot be told. */
  announceTenants?(next: Config): void;
}

/** Files that were not taken over: what is in use is older than they are. */
export interface Refused {
  readonly file: string;
  /** Of the first refusal, in milliseconds of Unix time. */
  readonly sinceMs: number;
  readonly problems: readonly string[];
}

/** Where the first configuration is from, where that is known, and what the time is. */
export interface ReloaderOptions {
  readonly source?: ConfigSource;
  readonly unixMs: () => number;
  /** Completes a configuration of files with tenants that are not in them. Default: there are none. */
  readonly complete?: (files: Config) => Config;
}

export class Reloader<Addresses> {
  readonly #initial: Config;
  readonly #steps: ReloadSteps<Addresses>;
  readonly #tell: (event: ServiceEvent) => void;
  readonly #unixMs: () => number;
  readonly #complete: (files: Config) => Config;
  /** As the files have it. */
  #files: Config;
  #config: Config;
  #source: ConfigSource | undefined;
  #refused: Refused | undefined;
  /** The last reload that was asked for: each sees what the one before it left. */
  #last: Promise<void> = Promise.resolve();
  #isClosed = false;
  /** When the one in use was taken over, in milliseconds of Unix time. */
  #sinceMs: number;

  constructor(
    initial: Config,
    steps: ReloadSteps<Addresses>,
    tell: (event: ServiceEvent) => void,
    { source, unixMs, complete = (files) => files }: ReloaderOptions = { unixMs: Date.now },
  ) {
    this.#initial = initial;
    this.#complete = complete;
    this.#files = initial;
    this.#config = complete(initial);
    this.#steps = steps;
    this.#tell = tell;
    this.#source = source;
    this.#unixMs = unixMs;
    this.#sinceMs = unixMs();
  }

  /** In use now. */
  get config(): Config {
    return this.#config;
  }

  /** Where the one in use is from, where that is known, and since when it is in use, in milliseconds of Unix time. */
  get inUse(): { readonly file: string | undefined; readonly sinceMs: number } {
    return { file: this.#source?.file, sinceMs: this.#sinceMs };
  }

  /** The last one that was offered, if it was not taken over. */
  get refused(): Refused | undefined {
    return this.#refused;
  }

  /**
   * Resolves when it has been taken over or refused.
   *
   * @param warnings of its text, to be told.
   * @param source what it was read from, to say what it changes.
   */
  reload(next: Config, warnings: readonly string[], source?: ConfigSource): Promise<void> {
    const reload = this.#last.then(() => this.#takeOver(next, warnings, source));
    // One that fails by a bug keeps no later one from being tried.
    this.#last = reload.catch(() => undefined);
    return reload;
  }

  /**
   * Takes over what the same files come to now that tenants have been made or changed: no name is looked up again. Where Envoy
   * cannot be told, the service goes by it all the same: a key that was revoked opens nothing.
   *
   * @throws why Envoy could not be told.
   */
  retake(): Promise<void> {
    const retake = this.#last.then(() => {
      if (this.#isClosed) return;
      const next = this.#complete(this.#files);
      this.#config = next;
      this.#steps.applyTenants?.(next);
      this.#steps.announceTenants?.(next);
    });
    this.#last = retake.catch(() => undefined);
    return retake;
  }

  refuse(problems: readonly string[]): void {
    const sinceMs = this.#refused?.sinceMs ?? this.#unixMs();
    this.#refused = { file: this.#source?.file ?? '', sinceMs, problems };
    this.#tell({ kind: 'config-refused', problems });
  }

  /** Takes over none any more, also not the one that is being looked up. */
  close(): void {
    this.#isClosed = true;
  }

  async #takeOver(files: Config, warnings: readonly string[], source?: ConfigSource): Promise<void> {
    if (this.#isClosed) return;
    const addresses = await this.#steps.resolve(files);
    if (this.#isClosed) return;
    // Only now: what is made meanwhile is in it.
    const next = this.#complete(files);
    try {
      this.#steps.prepare(next, addresses);
    } catch (error) {
      this.#complete(this.#files);
      this.refuse([messageOf(error)]);
      // The names of the one in use are to be watched again.
      await this.#steps.resolve(this.#config);
      return;
    }
    const before = this.#config;
    this.#files = files;
    this.#config = next;
    this.#sinceMs = this.#unixMs();
    this.#steps.apply(next, addresses, before);
    const changes =
      this.#source === undefined || source === undefined ? undefined : sourceChanges(this.#source, source);
    this.#source = source ?? this.#source;
    this.#refused = undefined;
    this.#tell({
      kind: 'config-reloaded',
      ...(changes !== undefined && { changes }),
      warnings,
      restart: restartNeeded(this.#initial, files),
    });
  }
}
