/** `telemetry.otlp`: a URL that may be asked, and headers that may be sent. */
import { isLoopback } from '../../domain/loopback.ts';
import { type Looked, lookUpEnv, readFailure, SECRET_REFERENCE, type Sources } from '../secrets.ts';
import type { OtlpConfig } from '../telemetry.ts';
import { at, isMapping } from '../written-data.ts';
import type { Check } from './check.ts';
import { httpUrlOf } from './receiver-url.ts';

/** A header as it was written, looked up. */
export interface FoundOtlpHeader {
  readonly name: string;
  readonly text: string;
  readonly looked: Looked;
}

const NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/;
/** Those that the export sets itself, or HTTP does. */
const OURS =
  /^(?:content-.*|host|connection|transfer-encoding|te|trailer|upgrade|keep-alive|expect|proxy-.*)$/i;
const OTLP_GRPC_PORT = '4317';
const MOST_HEADERS = 32;
const LONGEST_VALUE = 4_096;

/** Of visible ASCII and spaces: `Basic …` has one. */
function lookUpValue(text: string, sources: Sources): Looked {
  if (sources.isUnresolved === true && SECRET_REFERENCE.test(text)) return { kind: 'unresolved' };
  let value = text;
  if (text.startsWith('file:')) {
    const path = text.slice('file:'.length);
    if (path === '' || path.includes('\0')) return { kind: 'bad', problem: 'needs a path after file:' };
    try {
      value = sources.readFile(sources.locate(path)).trim();
    } catch (error) {
      return { kind: 'bad', problem: `cannot read ${sources.locate(path)} (${readFailure(error)})` };
    }
  } else {
    const looked = lookUpEnv(text, sources.env);
    if (looked.kind === 'bad') return looked;
    value = looked.value.trim();
  }
  return value.length <= LONGEST_VALUE && /^[\x20-\x7e]+$/.test(value)
    ? { kind: 'ok', value }
    : { kind: 'bad', problem: `must be 1 to ${LONGEST_VALUE} characters of ASCII, on one line` };
}

export function findOtlpHeaders(root: unknown, sources: Sources): readonly FoundOtlpHeader[] {
  const headers = at(root, 'telemetry', 'otlp', 'headers');
  if (!isMapping(headers)) return [];
  return Object.entries(headers).flatMap(([name, text]) =>
    typeof text === 'string' ? [{ name, text, looked: lookUpValue(text, sources) }] : [],
  );
}

/** It never repeats the text, which may have a secret in it. */
function problemOfUrl(text: string): string | undefined {
  const url = httpUrlOf(text);
  if (url === undefined)
    return 'must be an http:// or https:// URL of a collector, for example http://127.0.0.1:4318';
  if (url.username !== '' || url.password !== '') {
    return 'must not carry credentials; write them as a header: authorization: env:OTLP_AUTHORIZATION';
  }
  if (url.search !== '' || url.hash !== '') return 'must not have a query or a fragment';
  if (/\/v1\/traces\/*$/.test(url.pathname))
    return 'must be the base URL: leave out /v1/traces, which is added';
  if (url.port === '0') return 'has port 0; give the port that the collector listens on, usually 4318';
  return undefined;
}

export function checkOtlp(headers: readonly FoundOtlpHeader[], { root, report }: Check): void {
  const path = ['telemetry', 'otlp'];
  const endpoint = at(root, ...path, 'endpoint');
  if (typeof endpoint === 'string') {
    const problem = problemOfUrl(endpoint);
    const url = httpUrlOf(endpoint);
    if (problem !== undefined) report.problem([...path, 'endpoint'], problem);
    else if (url?.port === OTLP_GRPC_PORT) {
      report.warning(
        [...path, 'endpoint'],
        'has the port of OTLP over gRPC: traces go over HTTP, for which collectors listen on 4318',
      );
    }
    if (problem === undefined && url?.protocol === 'http:' && !isLoopback(url.hostname)) {
      report.warning(
        [...path, 'endpoint'],
        'is http:// to another machine: anybody on the way can read traces and headers; write https://',
      );
    }
  }
  if (headers.length > MOST_HEADERS) {
    report.problem([...path, 'headers'], `must be at most ${MOST_HEADERS} headers`);
  }
  const names = new Set<string>();
  for (const { name, looked } of headers) {
    const place = [...path, 'headers', name];
    const lower = name.toLowerCase();
    if (!NAME.test(name)) report.problem(place, 'is no name of a header', 'key');
    else if (OURS.test(name)) report.problem(place, 'is set by HTTP itself; remove it', 'key');
    else if (names.has(lower)) report.problem(place, 'is there twice', 'key');
    names.add(lower);
    if (looked.kind === 'bad') report.problem(place, looked.problem);
  }
}

/** The base URL, with the path of traces behind it. */
export function otlpOf(
  written: { readonly endpoint: string; readonly sample: number },
  headers: readonly FoundOtlpHeader[],
): OtlpConfig {
  const url = `${written.endpoint.replace(/\/+$/, '')}/v1/traces`;
  const known = headers.flatMap(({ name, looked }) =>
    looked.kind === 'ok' ? [[name.toLowerCase(), looked.value] as const] : [],
  );
  return { url, sample: written.sample, headers: Object.fromEntries(known) };
}
