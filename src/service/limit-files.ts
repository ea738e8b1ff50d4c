/** The rate limit service's domains: as their files say, and read again when those change. */
import type { Config } from '../config/config.ts';
import type { Passed } from '../files/fs-folder.ts';
import {
  type LimitsFolder,
  type LimitsWatcher,
  passedText,
  type ReadLimits,
  readLimits,
  watchLimits,
} from '../rate-limit-service/fs-limits.ts';
import type { Domains } from '../rate-limit-service/limits-config.ts';
import type { ServiceEvent } from '../telemetry/telemetry.ts';
import type { Refused } from './reloader.ts';

const NO_DOMAINS: Domains = new Map();
/** What a folder full of links would say. */
const MOST_WARNINGS = 20;

export class LimitFiles {
  readonly #tell: (event: ServiceEvent) => void;
  #domains = NO_DOMAINS;
  #watcher: LimitsWatcher | undefined;
  readonly #unixMs: () => number;
  #directory = '';
  #refused: Refused | undefined;

  constructor(tell: (event: ServiceEvent) => void, unixMs: () => number) {
    this.#tell = tell;
    this.#unixMs = unixMs;
  }

  /** The files of now, if they are not in use. */
  get refused(): Refused | undefined {
    return this.#refused;
  }

  get domains(): Domains {
    return this.#domains;
  }

  /** @throws when the files are bad. */
  open(config: Config['rateLimit']): void {
    const folder = folderOf(config);
    if (folder === undefined) return;
    this.#directory = folder.directory;
    const loaded = readLimits(folder);
    if (loaded.kind === 'bad') throw new Error(`rateLimit.directory: ${loaded.problem}`);
    this.#take(loaded.domains, loaded.passed);
    this.#watch(folder, loaded);
  }

  /** Goes over to other files. Where they are bad the domains stay as they were, and their files are watched. */
  reopen(config: Config['rateLimit']): void {
    this.close();
    this.#refused = undefined;
    const folder = folderOf(config);
    if (folder === undefined) {
      this.#domains = NO_DOMAINS;
      return;
    }
    this.#directory = folder.directory;
    const loaded = readLimits(folder);
    if (loaded.kind === 'ok') this.#take(loaded.domains, loaded.passed);
    else this.#refuse(loaded.problem);
    this.#watch(folder, loaded);
  }

  close(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  #watch(folder: LimitsFolder, loaded: ReadLimits): void {
    this.#watcher = watchLimits(
      folder,
      loaded,
      (domains, passed) => this.#take(domains, passed),
      (problem) => this.#refuse(problem),
    );
  }

  #take(domains: Domains, passed: readonly Passed[]): void {
    this.#domains = domains;
    this.#refused = undefined;
    const warnings = passed.slice(0, MOST_WARNINGS).map(passedText);
    if (passed.length > MOST_WARNINGS) warnings.push(`and ${passed.length - MOST_WARNINGS} more`);
    this.#tell({
      kind: 'limits-loaded',
      domains: [...domains.keys()],
      ...(warnings.length > 0 && { warnings }),
    });
  }

  #refuse(problem: string): void {
    const sinceMs = this.#refused?.sinceMs ?? this.#unixMs();
    this.#refused = { file: this.#directory, sinceMs, problems: [problem] };
    this.#tell({ kind: 'limits-refused', problem });
  }
}

/** Of a configuration: only another one needs reading. */
export const folderOf = ({ directory, mergeDomains }: Config['rateLimit']): LimitsFolder | undefined =>
  directory === undefined ? undefined : { directory, mergeDomains };
