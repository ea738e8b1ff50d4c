import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  bodyTooLarge,
  contextLengthExceeded,
  draining,
  errorBody,
  forbiddenField,
  invalidRequest,
  modelNotFound,
  noHealthyEndpoint,
  queueFull,
  queueTimeout,
  rateLimited,
} from '../../../src/openai/error-body.ts';

const body = (...args: Parameters<typeof errorBody>) =>
  JSON.parse(errorBody(...args)) as Record<string, unknown>;

describe('an error body', () => {
  it('has OpenAI’s four fields, param null when there is none', () => {
    expect(body('chat.completions', invalidRequest('No.'))).toEqual({
      error: { message: 'No.', type: 'invalid_request_error', param: null, code: 'invalid_request' },
    });
    expect(body(undefined, modelNotFound('x'))).toEqual({
      error: {
        message: 'The model `x` does not exist or you do not have access to it.',
        type: 'invalid_request_error',
        param: 'model',
        code: 'model_not_found',
      },
    });
  });

  it.each([
    [400, 'invalid_request_error'],
    [401, 'authentication_error'],
    [403, 'permission_error'],
    [404, 'not_found_error'],
    [413, 'request_too_large'],
    [429, 'rate_limit_error'],
    [500, 'api_error'],
    [503, 'overloaded_error'],
    [504, 'api_error'],
    [422, 'invalid_request_error'],
  ])('has Anthropic’s shape on its route: %i is %s', (status, type) => {
    expect(body('messages', { ...invalidRequest('No.'), status })).toEqual({
      type: 'error',
      error: { type, message: 'No.' },
    });
  });
});

describe('our errors', () => {
  it.each([
    [rateLimited('requests', { limit: 60, retryAfterMs: 1500 }), 429, 'rate_limit_exceeded', 'requests'],
    [rateLimited('tokens', { limit: 1000, requested: 1200 }), 429, 'rate_limit_exceeded', 'tokens'],
    [queueFull('tenant', 1000), 429, 'tenant_queue_full', 'requests'],
    [queueFull('total'), 503, 'queue_full', 'server_error'],
    [queueTimeout(30_000), 503, 'queue_timeout', 'server_error'],
    [noHealthyEndpoint('m'), 503, 'no_healthy_endpoint', 'server_error'],
    [bodyTooLarge(1024), 413, 'body_too_large', 'invalid_request_error'],
    [draining(), 503, 'draining', 'server_error'],
    [forbiddenField('priority'), 400, 'forbidden_field', 'invalid_request_error'],
  ])('%# have a status, a code and a type', (error, status, code, type) => {
    expect(error).toMatchObject({ status, code, type });
    expect(error.message).toMatch(/\.$/);
  });

  it('tell when to come back, and only when that helps', () => {
    expect(rateLimited('tokens', { limit: 1000, requested: 50, retryAfterMs: 1510 })).toMatchObject({
      retryAfterMs: 1510,
      message:
        'Rate limit reached on tokens per min (TPM): Limit 1000, Requested 50. Please try again in 1.6s.',
    });
    expect(rateLimited('tokens', { limit: 1000, requested: 1200 })).not.toHaveProperty('retryAfterMs');
  });

  it('name the field that holds the prompt', () => {
    const tokens = { maxContext: 4096, prompt: 4000, output: 1000 };
    expect(contextLengthExceeded('chat.completions', tokens)).toMatchObject({
      code: 'context_length_exceeded',
      param: 'messages',
    });
    expect(contextLengthExceeded('completions', tokens).param).toBe('prompt');
    expect(contextLengthExceeded('responses', tokens).message).toContain('5000 tokens (4000 in the input');
  });

  it('quote a client’s string short and without control characters', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 1000 }), (name) => {
        const { message } = modelNotFound(name);
        expect(message).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/u);
        expect(Array.from(message).length).toBeLessThan(64 + 70);
      }),
    );
    expect(modelNotFound('x'.repeat(65)).message).toContain(`\`${'x'.repeat(64)}…\``);
    expect(modelNotFound('🙂'.repeat(200)).message).toContain(`\`${'🙂'.repeat(64)}…\``);
    expect(modelNotFound('a\r\nb\u202ec').message).toContain('`abc`');
  });
});
