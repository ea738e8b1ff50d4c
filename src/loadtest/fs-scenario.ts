/** A scenario and its trace files from the disk. */
import { readFileSync, statSync } from 'node:fs';
import { readFailure } from '../config/secrets.ts';
import { MAX_SCENARIO_BYTES, MAX_TRACE_BYTES, type ParsedScenario, parseScenario } from './scenario.ts';

function read(path: string, mostBytes: number): string {
  // A pipe or device would block or never end.
  const stat = statSync(path);
  if (stat.isDirectory()) throw Object.assign(new Error(), { code: 'EISDIR' });
  if (!stat.isFile()) throw Object.assign(new Error(), { code: 'not a regular file' });
  if (stat.size > mostBytes) throw Object.assign(new Error(), { code: 'EFBIG' });
  return readFileSync(path, 'utf8');
}

export function loadScenario(path: string): ParsedScenario {
  let text: string;
  try {
    text = read(path, MAX_SCENARIO_BYTES);
  } catch (error) {
    const problem = `${path}: cannot read the scenario (${readFailure(error)}); give the path of a readable YAML file`;
    return { kind: 'bad', problems: [problem] };
  }
  return parseScenario({ text, file: path, readFile: (trace) => read(trace, MAX_TRACE_BYTES) });
}
