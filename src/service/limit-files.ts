/** The rate limit service's domains: as their files say, and read again when those change. */
import type { Config } from '../config/config.ts';
import {
  type LimitsFolder,
  type LimitsWatcher,
  readLimits,
  watchLimits,
} from '../rate-limit-service/fs-limits.ts';
import type { Domains } from '../rate-limit-service/limits-config.ts';
import type { ServiceEvent } from '../telemetry/telemetry.ts';

const NO_DOMAINS: Domains = new Map();

export class LimitFiles {
  readonly #tell: (event: ServiceEvent) => void;
  #domains = NO_DOMAINS;
  #watcher: LimitsWatcher | undefined;

  constructor(tell: (event: ServiceEvent) => void) {
    this.#tell = tell;
  }

  get domains(): Domains {
    return this.#domains;
  }

  /** @throws when the files are bad. */
  open(config: Config['rateLimit']): void {
    const folder = folderOf(config);
    if (folder === undefined) return;
    const loaded = readLimits(folder);
    if (loaded.kind === 'bad') throw new Error(`rateLimit.directory: ${loaded.problem}`);
    this.#take(loaded.domains);
    this.#watch(folder);
  }

  /** Goes over to other files. Where they are bad the domains stay as they were, and their files are watched. */
  reopen(config: Config['rateLimit']): void {
    this.close();
    const folder = folderOf(config);
    if (folder === undefined) {
      this.#domains = NO_DOMAINS;
      return;
    }
    const loaded = readLimits(folder);
    if (loaded.kind === 'ok') this.#take(loaded.domains);
    else this.#refuse(loaded.problem);
    this.#watch(folder);
  }

  close(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  #watch(folder: LimitsFolder): void {
    this.#watcher = watchLimits(
      folder,
      (domains) => this.#take(domains),
      (problem) => this.#refuse(problem),
    );
  }

  #take(domains: Domains): void {
    this.#domains = domains;
    this.#tell({ kind: 'limits-loaded', domains: [...domains.keys()] });
  }

  #refuse(problem: string): void {
    this.#tell({ kind: 'limits-refused', problem });
  }
}

const folderOf = ({ directory, mergeDomains }: Config['rateLimit']): LimitsFolder | undefined =>
  directory === undefined ? undefined : { directory, mergeDomains };
