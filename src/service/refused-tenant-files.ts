/** Which files of tenants are refused, and since when: told when one is refused, for another reason too, and when it is mended. */
import type { HealthReport } from '../admin/health.ts';
import type { RefusedTenantFile } from '../config/config.ts';
import type { ServiceEvent } from '../telemetry/telemetry.ts';

/** More names in `/health` tell nothing more. */
const SHOWN = 100;

interface Refused {
  readonly sinceMs: number;
  readonly text: string;
  readonly file: RefusedTenantFile;
}

export class RefusedTenantFiles {
  readonly #tell: (event: ServiceEvent) => void;
  #files: ReadonlyMap<string, Refused> = new Map();

  constructor(tell: (event: ServiceEvent) => void) {
    this.#tell = tell;
  }

  /** @param unixMs now. */
  update(refused: readonly RefusedTenantFile[], unixMs: number): void {
    const before = this.#files;
    this.#files = new Map(
      refused.map((file) => {
        const sinceMs = before.get(file.file)?.sinceMs ?? unixMs;
        return [file.file, { sinceMs, text: file.problems.join('\n'), file }] as const;
      }),
    );
    for (const [name, { text, file }] of this.#files) {
      if (before.get(name)?.text === text) continue;
      this.#tell({ kind: 'tenant-file-refused', file: name, problems: file.problems, kept: file.isKept });
    }
    for (const name of before.keys()) {
      if (!this.#files.has(name)) this.#tell({ kind: 'tenant-file-mended', file: name });
    }
  }

  report(): HealthReport['refusedTenantFiles'] {
    return Object.fromEntries(
      [...this.#files].slice(0, SHOWN).map(([name, { sinceMs, file }]) => [
        name,
        {
          since: new Date(sinceMs).toISOString(),
          problem: file.problems[0] ?? '',
          kept: file.isKept,
        },
      ]),
    );
  }
}
