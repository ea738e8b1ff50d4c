/**
 * What the schema cannot say: names that must exist, keys and addresses that must differ; what is checked is in the names
 * of these files. The checks read the data as written, so that one wrong setting does not hide what is wrong elsewhere.
 */
import type { Report } from '../report.ts';
import type { Sources } from '../secrets.ts';

export interface Check {
  readonly root: unknown;
  readonly report: Report;
  readonly hide: (text: string) => string;
  readonly env: Sources['env'];
  /** References are left as they are; a URL's variable may be missing. */
  readonly isUnresolved: boolean;
  /** Wall clock: certificates end. Undefined: whether they have is not looked at. */
  readonly nowMs: number | undefined;
}
