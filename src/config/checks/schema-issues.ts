/** What the schema says is wrong, told where it stands. */
import type { z } from 'zod';
import { renamedIn } from '../renamed-keys.ts';
import { didYouMean } from '../report.ts';
import { knownKeys } from '../schema/schema.ts';
import type { Check } from './check.ts';

/** What may be written in several ways and is a mapping: what is wrong inside of it. Undefined: it is none, or none of the ways. */
const insideOf = ({ errors }: z.core.$ZodIssueInvalidUnion): readonly z.core.$ZodIssue[] | undefined =>
  errors.find((one) => one.every(({ code, path }) => path.length > 0 || code === 'unrecognized_keys'));

export function reportSchema(
  issues: readonly z.core.$ZodIssue[],
  { report }: Pick<Check, 'report'>,
  within: readonly PropertyKey[] = [],
): void {
  for (const issue of issues) {
    const path = [...within, ...issue.path].map((step) => (typeof step === 'number' ? step : String(step)));
    const inside = issue.code === 'invalid_union' ? insideOf(issue) : undefined;
    if (inside !== undefined && inside.length > 0) {
      reportSchema(inside, { report }, path);
      continue;
    }
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
