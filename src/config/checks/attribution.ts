/** The header that says whom a request is counted for. */
import { CREDENTIAL_HEADERS, RESERVED_HEADER_PREFIXES } from '../../domain/names.ts';
import { at, isMapping } from '../written-data.ts';
import type { Check } from './check.ts';

export function checkAttribution({ root, report }: Check): void {
  if (!isMapping(at(root, 'attribution'))) return;
  const path = ['attribution', 'header'];
  const [by, header] = [at(root, 'attribution', 'by'), at(root, ...path)];
  if (by === 'header' && header === undefined) report.problem(path, 'is missing: with by: header, name one');
  if (typeof header !== 'string') return;
  const prefix = RESERVED_HEADER_PREFIXES.find((one) => header.startsWith(one));
  if (CREDENTIAL_HEADERS.includes(header)) {
    report.problem(path, 'tells who a client is, and would be in every usage record; name another');
  } else if (prefix !== undefined) {
    report.problem(path, `never comes from a client: Envoy removes ${prefix}* first; name another`);
  } else if (by === 'user') report.warning(path, 'has no effect with by: user');
}
