/** The simulator over real HTTP, held to what was seen of vLLM. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, eventsOf, openStream, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';

let engine: Simulator;
beforeAll(async () => {
  engine = await startSimulator({
    profile: parseProfile('test', { stepBaseMs: 5 }),
    models: ['demo', 'other'],
    faults: true,
  });
});
afterAll(() => engine.close());
afterEach(() => engine.setFault(undefined));

const post = (path: string, body: object | string) =>
  send(engine.url, { path, body: typeof body === 'string' ? body : JSON.stringify(body) });

describe('the simulator', () => {
  it('streams role first, a token a chunk, the finish reason, usage with no choices, and [DONE]', async () => {
    const body = chatBody({ stream: true, max_tokens: 3, stream_options: { include_usage: true } });
    const events = eventsOf((await post('/v1/chat/completions', body)).text);
    const chunks = events.slice(0, -1).map((event) => JSON.parse(event));
    expect(events.at(-1)).toBe('[DONE]');
    expect(chunks[0].choices[0].delta).toEqual({ role: 'assistant', content: '' });
    expect(chunks.slice(1, 4).map((chunk) => chunk.choices[0].delta.content)).toEqual([
      'the',
      ' engine',
      ' says',
    ]);
    expect(chunks[4].choices[0].finish_reason).toBe('length');
    expect(chunks[5]).toMatchObject({
      choices: [],
      usage: { completion_tokens: 3, total_tokens: expect.any(Number) },
    });
  });

  it('stops by itself, the same way for the same prompt, and runs to the cap with ignore_eos', async () => {
    const body = { model: 'demo', messages: [{ role: 'user', content: 'x' }] };
    const tokens = async (extra: object) =>
      (await post('/v1/chat/completions', { ...body, ...extra })).json.usage.completion_tokens as number;
    const natural = await tokens({});
    expect(natural).toBeGreaterThanOrEqual(32);
    expect(natural).toBeLessThanOrEqual(256);
    expect(await tokens({})).toBe(natural);
    expect(await tokens({ ignore_eos: true, max_tokens: 300 })).toBe(300);
  });

  it('reports cached tokens when a prompt comes again, and none under another salt', async () => {
    const body = {
      model: 'demo',
      max_tokens: 1,
      messages: [{ role: 'user', content: 'long prompt '.repeat(50) }],
    };
    const cached = async (extra: object = {}) =>
      (await post('/v1/chat/completions', { ...body, ...extra })).json.usage.prompt_tokens_details
        .cached_tokens as number;
    expect(await cached()).toBe(0);
    expect(await cached()).toBeGreaterThan(100);
    expect(await cached({ cache_salt: 'mine' })).toBe(0);
  });

  it('gives n choices and counts the tokens of all', async () => {
    const answer = await post('/v1/chat/completions', chatBody({ n: 3, max_tokens: 4 }));
    expect(answer.json.choices).toHaveLength(3);
    expect(answer.json.usage.completion_tokens).toBe(12);
  });

  it('stops computing when the client hangs up', async () => {
    const stream = await openStream(engine.url, {
      body: chatBody({ stream: true, max_tokens: 5_000, ignore_eos: true }),
    });
    await eventually(
      () => engine.gauges().running,
      (running) => running === 1,
    );
    stream.hangUp();
    await eventually(
      () => engine.gauges().running,
      (running) => running === 0,
    );
    expect(engine.gauges().kvUsage).toBe(0);
  });

  it.each([
    ['no JSON', '{', 400],
    ['an array', '[]', 400],
    ['no prompt', '{"model":"demo"}', 400],
    ['an unknown model', '{"model":"nope","messages":[]}', 404],
    ['a cap over the context', chatBody({ max_tokens: 40_000 }), 400],
    [
      'a prompt over the context',
      chatBody({ messages: [{ role: 'user', content: 'x'.repeat(200_000) }] }),
      400,
    ],
  ])('refuses %s', async (_, body, status) => {
    const answer = await post('/v1/chat/completions', body);
    expect(answer.status).toBe(status);
    expect(answer.json.error).toMatchObject({
      code: status,
      message: expect.any(String),
      type: expect.any(String),
    });
  });

  it('reads as generously as vLLM: no model, numbers in strings, stream: "yes"', async () => {
    const answer = await post('/v1/chat/completions', {
      messages: [{ content: 'x' }],
      max_tokens: '2',
      stream: 'yes',
    });
    expect(eventsOf(answer.text).at(-1)).toBe('[DONE]');
  });

  it('loads and unloads adapters where it was started for it, lists them and serves them by name', async () => {
    const body = { lora_name: 'tone', lora_path: '/adapters/tone' };
    expect((await post('/v1/load_lora_adapter', body)).status).toBe(404);
    const other = await startSimulator({
      profile: parseProfile('test', {}),
      models: ['demo'],
      // Longer than a list takes, on any machine.
      adapters: { max: 1, loadMs: 1_000 },
    });
    const tell = (what: string) =>
      send(other.url, { path: `/v1/${what}_lora_adapter`, body: JSON.stringify(body) });
    const ask = async () => (await send(other.url, { body: chatBody({ model: 'tone' }) })).status;
    const listed = async () =>
      (await send(other.url, { method: 'GET', path: '/v1/models' })).json.data.map(
        ({ id, parent }: { readonly id: string; readonly parent: string | null }) => [id, parent],
      );
    try {
      expect(await ask()).toBe(404);
      const load = tell('load');
      expect(await listed()).toEqual([['demo', null]]);
      expect((await load).status).toBe(200);
      expect((await tell('load')).json.error.message).toContain('already been loaded');
      expect(await listed()).toEqual([
        ['demo', null],
        ['tone', 'demo'],
      ]);
      expect(await ask()).toBe(200);
      expect((await tell('unload')).status).toBe(200);
      expect(await ask()).toBe(404);
    } finally {
      await other.close();
    }
  });

  it('shows its gauges and models under vLLM’s names', async () => {
    const metrics = (await send(engine.url, { method: 'GET', path: '/metrics' })).text;
    for (const name of [
      'vllm:num_requests_running',
      'vllm:num_requests_waiting',
      'vllm:kv_cache_usage_perc',
      'vllm:prefix_cache_queries_total',
      'vllm:prefix_cache_hits_total',
      'vllm:prompt_tokens_total',
      'vllm:generation_tokens_total',
    ]) {
      expect(metrics).toMatch(new RegExp(`^${name}\\{model_name="demo"\\} [\\d.]+$`, 'm'));
    }
    expect(metrics).toContain('vllm:cache_config_info{block_size="16",num_gpu_blocks="4096"} 1');
    const models = await send(engine.url, { method: 'GET', path: '/v1/models' });
    expect(models.json.data.map(({ id }: { id: string }) => id)).toEqual(['demo', 'other']);
    expect((await send(engine.url, { method: 'GET', path: '/health' })).status).toBe(200);
  });

  it('says which address is taken', async () => {
    await expect(
      startSimulator({ profile: parseProfile('test', {}), models: ['demo'], port: engine.port }),
    ).rejects.toThrow(`127.0.0.1:${engine.port} is in use`);
  });
});
