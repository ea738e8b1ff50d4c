import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { entriesOf, namedEndpoints } from '../../../src/domain/picker-endpoints.ts';
import { pickerPathOf } from '../../../src/domain/picker-paths.ts';
import { API_ROUTES, type CustomRoutes, pathsOf } from '../../../src/domain/routes.ts';

const CUSTOM: CustomRoutes = new Map([
  ['music', { name: 'music', method: 'POST', path: '/v1/audio/music', body: 'json', metered: 'usage' }],
]);
const of = (path: string, { method = 'POST', endOfStream = false } = {}) =>
  pickerPathOf(CUSTOM, { method, path, endOfStream });
const ROUTE_PATHS = [...API_ROUTES.flatMap(pathsOf), '/v1/audio/music'];

describe('a path that a picker gets', () => {
  it.each(ROUTE_PATHS)('%s is of the API, also behind a prefix, and with a query', (path) => {
    expect(of(path)).toEqual({ kind: 'api', path });
    expect(of(`${path}?a=/b`)).toEqual({ kind: 'api', path: `${path}?a=/b` });
    // Stored responses are known by any spelling, and a prefix is one.
    const kept = path.includes('responses') ? `/team/llm${path}` : path;
    expect(of(`/team/llm${path}`)).toEqual({ kind: 'api', path: kept });
  });

  it.each(['/primary-gateway-test', '/', '/custom/predict', '/v1', '/v1/models-of-mine/run', '/health', ''])(
    '%j goes past',
    (path) => {
      // Engines tell of themselves at /health: with a body that was never served.
      expect(of(path).kind).toBe(path === '/health' ? 'api' : 'other');
      expect(of(path, { method: 'GET', endOfStream: true }).kind).toBe('other');
    },
  );

  it.each([
    '/generate',
    '/x/generate',
    '/v1/load_lora_adapter',
    '/SLEEP',
    '/invocations/',
    '/a/..//generate',
    '/%67enerate',
  ])('%s does not, with a body', (path) => expect(of(path).kind).toBe('api'));

  it.each([
    '/sleep?level=1',
    '/x/flush_cache',
    '/v1/reset_prefix_cache',
    '/%73leep',
    '/sleep#now',
    '//wake_up/',
  ])('%s does not without a body either: that is an order', (path) => {
    expect(of(path, { endOfStream: true }).kind).toBe('api');
    expect(of(path, { method: 'GET', endOfStream: true }).kind).toBe('api');
  });

  it.each(['/%', '/%E0%A4%A', `/${'a/'.repeat(100)}`, `/${'%25'.repeat(5_000)}`])(
    'what cannot be read is refused: %.20s…',
    (path) => expect(of(path).kind).toBe('api'),
  );

  it('is never past the limits for how it is spelled', () => {
    const change = fc.constantFrom<(path: string) => string>(
      (path) => `${path}/`,
      (path) => `/${path}`,
      (path) => path.toUpperCase(),
      (path) => path.replace(/[a-z]/, (c) => `%${c.charCodeAt(0).toString(16)}`),
      (path) => path.replace(/[a-z]/, (c) => `%25${c.charCodeAt(0).toString(16)}`),
      (path) => path.replaceAll('/', '//'),
      (path) => `/x/..${path}`,
      (path) => `/.${path}`,
      (path) => `${path};v=1`,
      (path) => path.replaceAll('/', '\\').replace('\\', '/'),
      (path) => `/prefix${path}`,
      (path) => `${path}#x`,
      (path) => `${path}%3Fx`,
      (path) => `${path}%23`,
    );
    fc.assert(
      fc.property(fc.constantFrom(...ROUTE_PATHS), fc.array(change, { maxLength: 2 }), (path, changes) => {
        const spelled = changes.reduce((text, apply) => apply(text), path);
        expect({ spelled, kind: of(spelled).kind }).toEqual({ spelled, kind: 'api' });
      }),
      { seed: 47, numRuns: 2_000 },
    );
  });
});

describe('endpoints that a list names', () => {
  const all = ['10.0.0.1:8000', '10.0.0.1:8001', '10.0.0.2:8000', '[fd00::1]:8000'];
  const named = (text: string) => {
    const within = namedEndpoints(entriesOf(text), () => all);
    return all.filter((address) => within.has(address));
  };

  it.each([
    ['10.0.0.1:8001', ['10.0.0.1:8001']],
    ['10.0.0.1', ['10.0.0.1:8000', '10.0.0.1:8001']],
    [' 10.0.0.2 ,, 10.0.0.1:8001', ['10.0.0.1:8001', '10.0.0.2:8000']],
    ['[fd00::1]', ['[fd00::1]:8000']],
    ['fd00::1', ['[fd00::1]:8000']],
    ['[fd00::1]:8000', ['[fd00::1]:8000']],
    ['[fd00::1]:1', []],
    ['10.0.0.1:1', []],
    ['10.0.0', []],
    ['', []],
    [':', []],
  ])('%j', (text, expected) => expect(named(text)).toEqual(expected));
});
