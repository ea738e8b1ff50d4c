/** What the schema says is wrong, told where it stands. */
import type { z } from 'zod';
import { renamedIn } from '../renamed-keys.ts';
import { didYouMean } from '../report.ts';
import { knownKeys } from '../schema/schema.ts';
import type { Check } from './check.ts';

export function reportSchema(issues: readonly z.core.$ZodIssue[], { report }: Check): void {
  for (const issue of issues) {
    const path = issue.path.map((step) => (typeof step === 'number' ? step : String(step)));
    if (issue.code === 'unrecognized_keys') {
      const known = knownKeys(path);
      const renamed = renamedIn(path);
      for (const key of issue.keys) {
        const here = [...path, key];
        const near =
          didYouMean(key, [...known, ...renamed.keys()], renamed) || `; known here: ${known.join(', ')}`;
        report.problem(here, `unknown setting${near}`, 'key');
      }
    } else if (issue.code === 'invalid_key') {
      const message = issue.issues[0]?.message ?? 'is no valid name';
      report.problem(path, `the name ${message}`, 'key');
    } else {
      report.problem(path, issue.message);
    }
  }
}
