/** `routes`: which paths an operator may add. */
import { describe, expect, it } from 'vitest';
import { API_ROUTES, findRoute, pathsOf } from '../../../src/domain/routes.ts';
import { configOf, full, problemsOf } from './parse.ts';

const withRoute = (route: object, name = 'music'): unknown => ({ ...full(), routes: { [name]: route } });

describe('a route of the configuration', () => {
  it.each([
    [{ path: '/v1/audio/music' }],
    [{ path: '/my/status', method: 'GET', body: 'none', model: 'llama' }],
    [{ path: '/v1/images/edits', body: 'multipart', metered: 'usage' }],
    [{ path: '/a.b/c~d/e-f_g', metered: 'none' }],
  ])('%o is taken', (route) => {
    expect(problemsOf(withRoute(route))).toEqual([]);
  });

  it('is found by its exact path and method, and by nothing else', () => {
    const { routes } = configOf(withRoute({ path: '/v1/audio/music', metered: 'usage' }));
    expect(findRoute(routes, 'POST', '/v1/audio/music?x=1')).toMatchObject({
      name: 'custom.usage',
      path: '/v1/audio/music',
      body: 'json',
    });
    for (const [method, path] of [
      ['GET', '/v1/audio/music'],
      ['POST', '/v1/audio/music/'],
      ['POST', '/v1/audio/Music'],
      ['POST', '/v1/audio/music/x'],
    ] as const) {
      expect(findRoute(routes, method, path)).toBeUndefined();
    }
  });

  it.each([
    ...API_ROUTES.flatMap(pathsOf),
    '/v1/models',
    '/v1/models/a/b',
    '/v1/responses/x',
    '/V1/Responses',
  ])('may not be %s: the API has it', (path) => {
    expect(problemsOf(withRoute({ path }))).toEqual([
      expect.stringMatching(/routes\.music\.path.*of the API/),
    ]);
  });

  it.each([
    '/sleep',
    '/Sleep',
    '/v1/sleep',
    '/v1/load_lora_adapter',
    '/load_lora_adapter',
    '/slots/0',
    '/metrics',
    '/health',
    '/openapi.json',
    '/generate',
    '/api/chat',
    '/collective_rpc',
  ])('may not be %s: engines are run by it, or answer uncounted', (path) => {
    expect(problemsOf(withRoute({ path }))).toEqual([
      expect.stringMatching(/routes\.music\.path.*no path for tenants: engines/),
    ]);
  });

  it.each([
    '',
    '/',
    'x',
    '/a/',
    '//a',
    '/a//b',
    '/a/../b',
    '/./a',
    '/a?b',
    '/a%2Fb',
    '/a b',
    '/ä',
    `/${'a'.repeat(70)}`,
    7,
    null,
  ])('may not be %j: that is no path', (path) => {
    expect(problemsOf(withRoute({ path })).join()).toContain('routes.music.path');
  });

  it.each([
    ['a GET with a body', { path: '/a', method: 'GET' }, 'body'],
    ['no body and no model', { path: '/a', body: 'none' }, 'model'],
    ['a model that is not there', { path: '/a', model: 'lama' }, 'model'],
    ['another method', { path: '/a', method: 'PUT' }, 'method'],
    ['another body', { path: '/a', body: 'xml' }, 'body'],
    ['another meter', { path: '/a', metered: 'seconds' }, 'metered'],
  ])('with %s is refused', (_, route, key) => {
    expect(problemsOf(withRoute(route)).join()).toContain(`routes.music.${key}`);
  });

  it('has a name and a path of its own', () => {
    for (const name of ['rerank', 'models']) {
      expect(problemsOf(withRoute({ path: '/a' }, name)).join()).toContain('name of a route of the API');
    }
    const twice = { ...full(), routes: { one: { path: '/a' }, two: { path: '/a' } } };
    expect(problemsOf(twice).join()).toContain('is that of the route "one"');
  });
});
