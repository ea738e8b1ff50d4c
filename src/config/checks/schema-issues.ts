/** What the schema says is wrong, told where it stands. */
import type { z } from 'zod';
import { renamedIn } from '../renamed-keys.ts';
import { didYouMean } from '../report.ts';
import { knownKeys } from '../schema/schema.ts';
import type { Path } from '../yaml-source.ts';
import type { Check } from './check.ts';

const SHOWN_NAMES = 16;

/** @param base where in the configuration that stands which was checked. */
export function reportSchema(
  issues: readonly z.core.$ZodIssue[],
  { report }: Pick<Check, 'report'>,
  base: Path = [],
): void {
  for (const issue of issues.flatMap(meant)) {
    const path = [...base, ...issue.path].map((step) => (typeof step === 'number' ? step : String(step)));
    if (issue.code === 'unrecognized_keys') {
      const known = knownKeys(path);
      const renamed = renamedIn(path);
      for (const key of issue.keys) {
        const here = [...path, key];
        const near =
          didYouMean(key, [...known, ...renamed.keys()], renamed) || `; known here: ${firstOf(known)}`;
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

/** As many names as fit a line. */
function firstOf(names: readonly string[]): string {
  const shown = names.slice(0, SHOWN_NAMES).join(', ');
  return names.length > SHOWN_NAMES ? `${shown}, …` : shown;
}

/**
 * Where a value may be written in several ways: what is wrong with the way that was chosen. That is the one whose kind of value
 * it has, so that what is wrong is inside.
 */
function meant(issue: z.core.$ZodIssue): readonly z.core.$ZodIssue[] {
  if (issue.code !== 'invalid_union') return [issue];
  const chosen = issue.errors.find(
    (inner) =>
      inner.length > 0 && inner.every(({ code, path }) => path.length > 0 || code === 'unrecognized_keys'),
  );
  if (chosen === undefined) return [issue];
  return chosen.flatMap((inner) => meant({ ...inner, path: [...issue.path, ...inner.path] }));
}
