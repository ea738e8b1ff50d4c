/**
 * What a request is to an endpoint picker, by its path. A gateway's routes say what passes, and may cut a prefix off after the picker
 * has seen it; an engine decodes a path before it looks it up. So a path counts by how it ends, and what spells a route of the API
 * in another way is none that goes past the limits.
 */
import { reasonAgainst, takesOrders } from './engine-orders.ts';
import {
  API_ROUTES,
  type CustomRoutes,
  findRoute,
  modelsRouteOf,
  namesResponses,
  pathsOf,
  withoutQuery,
} from './routes.ts';

export type PickerPath =
  /** A request of the API, or one that is refused as one. With the path by which it is known. */
  | { readonly kind: 'api'; readonly path: string }
  /** Nothing to understand and nothing to meter. */
  | { readonly kind: 'other' };

const API_PATHS: readonly string[] = API_ROUTES.flatMap(pathsOf);
/** Nothing has more. */
const MOST_SEGMENTS = 64;
const MOST_DECODINGS = 3;

/** As the most lenient of engines might read it: in lower case. Undefined: it cannot be read. */
function lenient(path: string): string | undefined {
  let text = path;
  try {
    for (let i = 0; i < MOST_DECODINGS && text.includes('%'); i += 1) text = decodeURIComponent(text);
  } catch {
    return undefined;
  }
  const segments: string[] = [];
  // What may be taken for a query or a fragment is cut off.
  const [plain = ''] = text.split(/[?#]/, 1);
  for (const segment of plain.replaceAll('\\', '/').split('/')) {
    // Some servers take `;` and what follows for parameters.
    const name = (segment.split(';', 1)[0] ?? '').trim();
    if (name === '..') segments.pop();
    else if (name !== '' && name !== '.') segments.push(name);
    if (segments.length > MOST_SEGMENTS) return undefined;
  }
  return `/${segments.join('/').toLowerCase()}`;
}

/** The longest of the paths that it ends with. */
const endOf = (path: string, known: readonly string[]): string | undefined =>
  known
    .filter((one) => path.endsWith(one))
    .reduce<string | undefined>((best, one) => (one.length > (best?.length ?? 0) ? one : best), undefined);

/** Whether that is so of the path, or of what is behind a prefix. @param path lenient. */
function isAtEnd(path: string, isSo: (end: string) => boolean): boolean {
  for (let at = 0; at >= 0; at = path.indexOf('/', at + 1)) if (isSo(path.slice(at))) return true;
  return false;
}

/** Engines take orders there, or answer what is counted elsewhere. */
const isKeptFrom = (path: string): boolean => reasonAgainst(path) !== undefined;

export function pickerPathOf(
  custom: CustomRoutes | undefined,
  { method, path, endOfStream }: { method: string; path: string; endOfStream: boolean },
): PickerPath {
  const isExact =
    findRoute(custom, method, path) !== undefined ||
    modelsRouteOf(method, path) !== undefined ||
    namesResponses(path);
  if (isExact) return { kind: 'api', path };
  const plain = withoutQuery(path);
  const read = lenient(plain);
  if (read === undefined) return { kind: 'api', path };
  // Without a body an engine computes nothing, but it may take an order.
  if (endOfStream) return isAtEnd(read, takesOrders) ? { kind: 'api', path } : { kind: 'other' };
  const known = [...API_PATHS, ...[...(custom?.values() ?? [])].map((route) => route.path)];
  const end = endOf(plain, known);
  if (end !== undefined) return { kind: 'api', path: end + path.slice(plain.length) };
  const isRefused = endOf(read, known) !== undefined || isAtEnd(read, isKeptFrom);
  return isRefused ? { kind: 'api', path } : { kind: 'other' };
}
