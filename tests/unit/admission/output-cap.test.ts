/** `max_tokens` of -1, 0 and less: what each engine makes of it, and what is counted and sent. */
import { describe, expect, it } from 'vitest';
import { meaningOfCap } from '../../../src/admission/output-cap.ts';
import { ENGINE_KINDS, type EngineKind } from '../../../src/domain/engine-kinds.ts';
import type { BelowOne } from '../../../src/engine/driver.ts';
import { chatHead, createWorld } from '../../support/lifecycle.ts';

type Row = readonly [EngineKind | undefined, number, BelowOne, BelowOne];
/** In chat, in completions. */
const ROWS: readonly Row[] = [
  ['llamacpp', -1, 'unlimited', 'unlimited'],
  ['llamacpp', 0, 'nothing', 'nothing'],
  ['llamacpp', -2, 'refused', 'refused'],
  ['vllm', -1, 'refused', 'refused'],
  ['vllm', 0, 'refused', 'refused'],
  ['sglang', -1, 'refused', 'refused'],
  ['sglang', 0, 'unlimited', 'refused'],
  ['tgi', -1, 'refused', 'refused'],
  ['tgi', 0, 'refused', 'refused'],
  ['trtllm', -1, 'refused', 'refused'],
  ['trtllm', 0, 'unlimited', 'unlimited'],
  ['lmdeploy', -1, 'refused', 'refused'],
  ['lmdeploy', 0, 'unlimited', 'unlimited'],
  [undefined, -1, 'unlimited', 'unlimited'],
  [undefined, 0, 'unlimited', 'unlimited'],
];

describe('a number below one in place of a cap', () => {
  it.each(ROWS)('to %s: %d', (kind, value, chat, completions) => {
    expect(meaningOfCap([value], 'chat.completions', kind)).toBe(chat);
    expect(meaningOfCap([value], 'completions', kind)).toBe(completions);
  });

  it('is known of every engine', () => {
    for (const kind of ENGINE_KINDS) {
      for (const value of [-1, 0]) {
        expect(ROWS.some(([one, number]) => one === kind && number === value)).toBe(true);
      }
    }
  });

  it('means the most that one of several may mean', () => {
    expect(meaningOfCap([0, -1], 'chat.completions', 'llamacpp')).toBe('unlimited');
    expect(meaningOfCap([-7, 0], 'chat.completions', 'llamacpp')).toBe('nothing');
    expect(meaningOfCap([-7, 0], 'chat.completions', 'sglang')).toBe('unlimited');
    expect(meaningOfCap([-7, 0], 'chat.completions', 'vllm')).toBe('refused');
  });
});

interface Asked {
  readonly path?: string;
  readonly maxContext?: number;
}

/** What is sent, and how much of its tenant's bucket is reserved for it. */
function ask(kind: EngineKind | undefined, fields: object, { path, maxContext }: Asked = {}) {
  const world = createWorld({
    limits: { tokensPerMinute: 1_000_000, ...(maxContext !== undefined && { maxContext }) },
  });
  world.context.engineKindOf = () => kind;
  const { request, said } = world.open();
  const body = { model: 'small', messages: [{ role: 'user', content: 'hi' }], prompt: 'hi', input: 'hi' };
  const text = JSON.stringify({ ...body, ...fields });
  request.headers(chatHead({ ...(path !== undefined && { path }), contentLength: text.length }), 0);
  request.body(Buffer.from(text), 0);
  const last = said.at(-1);
  const sent = last?.kind === 'send-on' ? Buffer.concat(last.request.body ?? []).toString() : undefined;
  const reserved = 1_000_000 - (world.tenants.get('a')?.limits.tokens(0)?.remaining ?? 0);
  return { text, sent, reserved, last };
}

describe('a request without a bound of its own', () => {
  it.each(ROWS)('goes to %s with its %d as it came, where its tenant has no maxContext', (kind, value) => {
    const { sent, text } = ask(kind, { max_tokens: value });
    expect(sent).toBe(text);
  });

  it('is predicted as one without a cap, by llama.cpp’s -1', () => {
    const without = ask('llamacpp', {}).reserved;
    expect(ask('llamacpp', { max_tokens: -1 }).reserved).toBe(without);
    expect(ask('llamacpp', { max_completion_tokens: -1 }).reserved).toBe(without);
    expect(ask('llamacpp', { max_tokens: null }).reserved).toBe(without);
    expect(ask('llamacpp', { max_tokens: 0 }).reserved).toBeLessThan(without);
  });

  it.each([
    ['/v1/chat/completions', 'max_tokens'],
    ['/v1/chat/completions', 'max_completion_tokens'],
    ['/v1/completions', 'max_tokens'],
    ['/v1/responses', 'max_output_tokens'],
    ['/v1/messages', 'max_tokens'],
  ])('stays within maxContext: %s, %s', (path, field) => {
    for (const kind of ['llamacpp', undefined] as const) {
      const { sent } = ask(kind, { [field]: -1 }, { path, maxContext: 100 });
      const { [field]: cap } = JSON.parse(sent ?? '{}') as Record<string, number>;
      expect(cap).toBeGreaterThan(0);
      expect(cap).toBeLessThan(100);
    }
  });

  it('stays within it by every name that an engine may read', () => {
    const { sent } = ask('llamacpp', { max_tokens: -1, max_completion_tokens: 0 }, { maxContext: 100 });
    const { max_tokens: one, max_completion_tokens: other } = JSON.parse(sent ?? '{}') as Record<
      string,
      number
    >;
    expect(one).toBeGreaterThan(0);
    expect(one).toBeLessThan(100);
    expect(other).toBe(one);
    const sglang = JSON.parse(ask('sglang', { max_tokens: 0 }, { maxContext: 100 }).sent ?? '{}') as {
      readonly max_tokens: number;
    };
    expect(sglang.max_tokens).toBeGreaterThan(0);
  });

  it.each([
    ['llamacpp', 0],
    ['llamacpp', -2],
    ['vllm', -1],
    ['vllm', 0],
    ['tgi', -1],
    ['sglang', -1],
  ] as const)('is left to %s with its %d, with a maxContext too', (kind, value) => {
    const { sent, text } = ask(kind, { max_tokens: value }, { maxContext: 1_000 });
    expect(sent).toBe(text);
  });

  it('has the cap that stands beside it, by every name', () => {
    const { sent } = ask('llamacpp', { max_tokens: -1, max_completion_tokens: 7 });
    expect(JSON.parse(sent ?? '{}')).toMatchObject({ max_tokens: 7, max_completion_tokens: 7 });
  });

  it.each(['-1', 0.5, -0.5, true, [], {}, 2 ** 31 + 1, -(2 ** 31) - 1])('is none by %j', (value) => {
    const { last } = ask('llamacpp', { max_tokens: value });
    expect(last).toMatchObject({ kind: 'respond', response: { status: 400 } });
  });
});
