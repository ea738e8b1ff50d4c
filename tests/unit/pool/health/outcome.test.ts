import { describe, expect, it } from 'vitest';
import { type AttemptResult, endpointSignOf, modelSignOf } from '../../../../src/pool/health/outcome.ts';

const signs = (ending: AttemptResult) => [endpointSignOf(ending), modelSignOf(ending)];

describe('the end of a request', () => {
  it.each<[string, AttemptResult]>([
    ['a 4xx', { status: 400 }],
    ['an unknown key', { status: 401 }],
    ['too many requests', { status: 429 }],
    ['a client that hung up', { broken: 'client' }],
    ['a client that hung up in mid-stream', { status: 200, broken: 'client' }],
    [
      'a 500 that names the request, as llama.cpp has for bad JSON',
      { status: 500, errorCode: 'invalid_request_error' },
    ],
    [
      'a prompt that is too long, whatever the status',
      { status: 500, errorCode: 'exceed_context_size_error' },
    ],
  ])('says nothing: %s', (_, ending) => {
    expect(signs(ending)).toEqual([undefined, undefined]);
  });
  it('tells what no request can cause from what one might have', () => {
    expect(signs({ broken: 'connect' })).toEqual(['connect-failure', undefined]);
    expect(signs({ broken: 'reset' })).toEqual(['reset', 'doubtful']);
    expect(signs({ broken: 'timeout' })).toEqual(['timeout', 'doubtful']);
    expect(signs({ passedOver: true })).toEqual(['reset', 'doubtful']);
    expect(signs({ status: 503 })).toEqual(['server-error', 'fault']);
    expect(signs({ status: 404, errorCode: 'model_not_found' })).toEqual([undefined, 'fault']);
    expect(signs({ status: 200 })).toEqual(['success', 'success']);
  });
});
