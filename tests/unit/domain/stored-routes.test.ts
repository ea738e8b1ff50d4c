/** Paths of stored responses, and ids. */
import { describe, expect, it } from 'vitest';
import { isResponseId, namesResponses, routeOf, storedRouteOf } from '../../../src/domain/routes.ts';

describe('the route of a stored response', () => {
  it.each([
    ['GET', '/v1/responses/resp_1', 'responses.retrieve'],
    ['GET', '/v1/responses/resp_1?stream=true&x=/cancel', 'responses.retrieve'],
    ['DELETE', '/v1/responses/resp_1', 'responses.delete'],
    ['POST', '/v1/responses/resp_1/cancel', 'responses.cancel'],
    ['GET', '/v1/responses/resp_1/input_items?after=x', 'responses.input_items'],
  ])('%s %s', (method, path, route) => {
    expect(storedRouteOf(method, path)).toEqual({ route, id: 'resp_1' });
    expect(routeOf(method, path)).toBeUndefined();
  });

  it.each([
    ['POST', '/v1/responses'],
    ['GET', '/v1/responses'],
    ['GET', '/v1/responses/'],
    ['GET', '/v1/responses/?x'],
    ['POST', '/v1/responses/resp_1'],
    ['HEAD', '/v1/responses/resp_1'],
    ['GET', '/v1/responses/resp_1/'],
    ['GET', '/v1/responses/resp_1/cancel'],
    ['POST', '/v1/responses/resp_1/input_items'],
    ['GET', '/v1/responses/resp_1/other'],
    ['GET', '/v1/responses/resp_1/cancel/x'],
    ['GET', '/v2/responses/resp_1'],
    ['GET', '/V1/responses/resp_1'],
  ])('%s %s is none', (method, path) => expect(storedRouteOf(method, path)).toBeUndefined());

  it('names responses in any spelling', () => {
    for (const path of ['/v1/responses/x', '/v1/%72esponses/x', '/RESPONSES', '/%', '/v1//responses']) {
      expect([path, namesResponses(path)]).toEqual([path, true]);
    }
    for (const path of ['/metrics', '/v1/models', '/x?a=responses', '/x?%']) {
      expect([path, namesResponses(path)]).toEqual([path, false]);
    }
  });

  it('has ids as engines make them', () => {
    for (const id of [`resp_${'0123456789abcdef'.repeat(2)}`, 'resp_aB-_9', `resp_${'a'.repeat(123)}`]) {
      expect([id, isResponseId(id)]).toEqual([id, true]);
    }
    for (const id of [
      '',
      'resp_',
      'resp',
      'Resp_a',
      'resp_a.b',
      'resp_a%',
      ' resp_a',
      `resp_${'a'.repeat(124)}`,
    ]) {
      expect([id, isResponseId(id)]).toEqual([id, false]);
    }
  });
});
