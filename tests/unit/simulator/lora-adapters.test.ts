import { describe, expect, it } from 'vitest';
import { createSimulatedAdapters } from '../../../src/simulator/lora-adapters.ts';
import { readFixture } from '../../support/engine-answers.ts';

const make = (loaded: readonly string[] = []) =>
  createSimulatedAdapters({ max: 2, loadMs: 100, loaded }, ['tiny']);
const body = (name: unknown, path: unknown = '/models/tiny-lora') =>
  JSON.stringify({ lora_name: name, lora_path: path });

describe('a simulated engine’s adapters', () => {
  it('are loaded and unloaded in the words of a real vLLM', () => {
    const recorded = readFixture('vllm').answers;
    const adapters = make();
    const load = adapters.load(body('tiny-lora'));
    expect(load).toMatchObject({ status: 200, afterMs: 100, body: recorded.get('load-lora')?.body });
    expect(adapters.names()).toEqual([]);
    load.apply?.();
    expect(adapters.names()).toEqual(['tiny-lora']);
    const unload = adapters.unload(body('tiny-lora'));
    expect(unload).toMatchObject({ status: 200, body: recorded.get('unload-lora')?.body });
    unload.apply?.();
    expect(adapters.names()).toEqual([]);
    expect(adapters.stats()).toEqual({ loads: 1, unloads: 1, most: 1 });
  });
  it.each([
    ['twice', body('a'), 400, 'already been loaded'],
    ['under a model’s name', body('tiny'), 400, 'conflicts'],
    ['without a path', body('b', null), 400, 'must be provided'],
    ['from nowhere', body('b', '/missing'), 404, 'No adapter found'],
    ['with wrong types', body(5, {}), 400, 'must be provided'],
    ['with no JSON', '{', 400, 'must be provided'],
    ['with null', 'null', 400, 'must be provided'],
  ])('are not loaded %s', (_, text, status, said) => {
    const answer = make(['a']).load(text);
    expect([answer.status, answer.apply]).toEqual([status, undefined]);
    expect(JSON.parse(answer.body).error.message).toContain(said);
  });
  it('are no more than it may have, and unloaded only when they are there', () => {
    const adapters = make(['a', 'b']);
    expect(adapters.load(body('c')).status).toBe(500);
    expect(adapters.unload(body('c')).status).toBe(404);
    expect(adapters.unload('{}').status).toBe(400);
  });
});
