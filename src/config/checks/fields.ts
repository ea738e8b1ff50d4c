/** `fields`: lists that replace what is built in, or change it by single names. */
import { changesNames, DEFAULT_FORBIDDEN_FIELDS, DEFAULT_TOOLS } from '../forbidden-fields.ts';
import { didYouMean, quote } from '../report.ts';
import { textsAt } from '../written-data.ts';
import type { Check } from './check.ts';

export function checkFields(check: Check): void {
  checkList('forbidden', DEFAULT_FORBIDDEN_FIELDS, check);
  checkList('tools', DEFAULT_TOOLS, check);
}

function checkList(key: string, builtIn: readonly string[], { root, report, hide }: Check): void {
  const texts = textsAt(root, 'fields', key);
  const signed = texts.filter(([, text]) => changesNames(text));
  if (signed.length === 0) return;
  const path = ['fields', key];
  if (signed.length < texts.length) {
    const [i] = texts.find(([, text]) => !changesNames(text)) ?? [0];
    report.problem(
      [...path, i],
      'has neither + nor -, and others have; either every name has one, which changes the built-in list, or none has, which replaces it',
    );
    return;
  }
  const added = new Set(signed.filter(([, text]) => text.startsWith('+')).map(([, text]) => text.slice(1)));
  for (const [i, text] of signed) {
    const name = text.slice(1);
    if (text.startsWith('+')) continue;
    if (added.has(name)) {
      report.problem([...path, i], `${quote(hide(name))} is added and removed; choose one`);
    } else if (!builtIn.includes(name)) {
      const within = builtIn.find((one) => one.endsWith('*') && name.startsWith(one.slice(0, -1)));
      const hint =
        within === undefined ? didYouMean(name, builtIn) : `; it has ${quote(within)}, which matches it`;
      report.warning([...path, i], `${quote(hide(name))} is not in the built-in list${hint}`);
    }
  }
}
