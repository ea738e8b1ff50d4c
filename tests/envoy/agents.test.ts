/** Claude Code and Codex CLI, unchanged, with the settings of docs/clients.md. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { type AgentRun, AgentWorld, type AskedAgent } from '../support/agents/run-agent.ts';
import type { Turn } from '../support/agents/scripted-answers.ts';
import { type ScriptedEngine, startScriptedEngine } from '../support/agents/scripted-engine.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

const SPENT = 'key-of-the-spent';
/** Its context is shorter than an agent's first prompt. */
const SHORT = 'key-of-the-short';
const SLOW = { claude: 'key-of-slow-claude', codex: 'key-of-slow-codex' } as const;
/** The tenant may ask once in so long: longer than an agent needs for a step. */
const SLOW_MS = 6_000;
/** Claude Code waits for the seconds that it was told, and by chance up to a quarter longer (6,153 to 7,423 ms of 6,000). */
const CLAUDE_WAITS = { leastMs: 1_000, mostMs: SLOW_MS * 1.25 + 1 } as const;
/** Models that Codex knows by name: it speaks to each in another way. */
const KNOWN = ['gpt-5.5', 'gpt-6.2-sol'] as const;
const ANSWER = 'The word is marmalade.';
const LONG = 'One two three four five six seven eight nine ten eleven twelve thirteen fourteen.';

let world: AgentWorld;
let engine: ScriptedEngine;
let simulator: Simulator;
let stack: Stack;

beforeAll(async () => {
  world = await AgentWorld.open();
  engine = await startScriptedEngine(['demo', ...KNOWN]);
  simulator = await startSimulator({ profile: parseProfile('test', {}), models: ['simulated'] });
  stack = await startStack({
    engines: [engine.url],
    change(config) {
      config['pools']['simulated'] = { endpoints: [simulator.url], concurrencyLimit: 8 };
      config['models'] = {
        simulated: { pool: 'simulated' },
        ...Object.fromEntries(['demo', ...KNOWN].map((name) => [name, { pool: 'main' }])),
      };
      config['tenants']['short'] = { keys: [SHORT], limits: { maxContext: 4_000 } };
      config['tenants']['spent'] = { keys: [SPENT], limits: { tokensPerMonth: 1 } };
      for (const [name, key] of Object.entries(SLOW)) {
        const limits = { requestsPerMinute: 60_000 / SLOW_MS, requestBurst: 1 };
        config['tenants'][`slow-${name}`] = { keys: [key], limits };
      }
    },
  });
});
afterAll(async () => {
  await stack?.close();
  await simulator?.close();
  await engine?.close();
  await world?.close();
});

/** Records of what was asked since. */
const since = (count: number) =>
  stack
    .records()
    .slice(count)
    .map(({ route, outcome, reason, status, stream, droppedFields }) => ({
      route,
      outcome,
      status,
      stream,
      ...(reason !== undefined && { reason }),
      ...(droppedFields !== undefined && { droppedFields }),
    }));
/** It has ended so; otherwise the test shows all that it has said. */
const ended = (run: AgentRun, code = 0): AgentRun => {
  expect(run).toMatchObject({ code });
  return run;
};

describe('Claude Code', () => {
  const ask = (asked: Partial<AskedAgent> = {}): Promise<AgentRun> =>
    world.claude({ url: stack.url, key: KEYS.quiet, ...asked });
  const resultOf = (run: AgentRun) => run.lines.find(({ type }) => type === 'result');
  const read: Turn = { thinking: 'I look.', text: 'I look.', tool: { name: 'Read', input: {} } };
  const withFile = (): Turn => ({
    ...read,
    tool: { name: 'Read', input: { file_path: `${world.work}/notes.txt` } },
  });
  const whole = { route: 'messages', outcome: 'completed', status: 200, stream: true };

  it('has a turn, in one piece for its user', async () => {
    engine.follow(() => ({ text: ANSWER }));
    const before = stack.records().length;
    const run = ended(await ask({ more: ['--output-format', 'json'] }));
    expect(resultOf(run)).toMatchObject({ is_error: false, result: ANSWER, usage: { output_tokens: 7 } });
    expect(since(before)).toEqual([whole]);
    const [heard] = engine.turns();
    expect(heard?.url).toBe('/v1/messages?beta=true');
    expect(heard?.headers['anthropic-beta']).toContain('claude-code-');
    expect(heard?.headers).not.toHaveProperty('authorization');
    expect(heard?.body).toMatchObject({ model: 'demo', stream: true, max_tokens: 8_192 });
    expect(heard?.body.metadata.user_id).toBeTruthy();
    expect(heard?.body.system[0].text).not.toContain('billing');
    expect(JSON.stringify(heard?.body.system)).toContain('cache_control');
  });

  it('streams to its user', async () => {
    engine.follow(() => ({ thinking: 'A word.', text: ANSWER }));
    const run = ended(await ask({ more: ['--include-partial-messages'] }));
    const deltas = run.lines.flatMap(({ type, event }) =>
      type === 'stream_event' && event.delta?.type === 'text_delta' ? [event.delta.text] : [],
    );
    expect(deltas.length).toBeGreaterThan(1);
    expect(deltas.join('')).toBe(ANSWER);
  });

  it('has a turn with the simulator', async () => {
    const run = ended(await ask({ model: 'simulated' }));
    expect(resultOf(run).result).toBeTruthy();
  });

  it('reads a file, and goes on with what it has read', async () => {
    engine.follow((_, before) => (before === 0 ? withFile() : { text: ANSWER }));
    const before = stack.records().length;
    expect(resultOf(ended(await ask()))).toMatchObject({ result: ANSWER });
    expect(since(before)).toEqual([whole, whole]);
    const { messages } = engine.turns()[1]?.body ?? {};
    const blocks = messages.flatMap(({ content }: { content: unknown }) => content);
    expect(blocks).toContainEqual(expect.objectContaining({ type: 'thinking', thinking: 'I look.' }));
    expect(
      JSON.stringify(blocks.filter(({ type }: Turn & { type: string }) => type === 'tool_result')),
    ).toContain('marmalade');
  });

  it('waits for its turn where it asks too often', async () => {
    engine.follow((_, before) => (before === 0 ? withFile() : { text: ANSWER }));
    const before = stack.records().length;
    const run = ended(await ask({ key: SLOW.claude }));
    expect(resultOf(run)).toMatchObject({ result: ANSWER });
    const retries = run.lines.filter(({ subtype }) => subtype === 'api_retry');
    expect(retries).toEqual([expect.objectContaining({ error_status: 429, error: 'rate_limit' })]);
    expect(retries[0].retry_delay_ms).toBeGreaterThanOrEqual(CLAUDE_WAITS.leastMs);
    expect(retries[0].retry_delay_ms).toBeLessThanOrEqual(CLAUDE_WAITS.mostMs);
    expect(since(before).map(({ status }) => status)).toEqual([200, 429, 200]);
  });

  it('ends at once when the month is spent, and says so', async () => {
    const before = stack.records().length;
    const run = ended(await ask({ key: SPENT }), 1);
    expect(resultOf(run)).toMatchObject({ is_error: true });
    expect(resultOf(run).result).toContain('You exceeded your quota of 1 tokens a month.');
    expect(since(before).map(({ reason }) => reason)).toEqual(['insufficient_quota']);
  });

  it('asks again when its engine dies within an answer', async () => {
    engine.follow((_, before) => (before === 0 ? { text: LONG, dies: true } : { text: ANSWER }));
    const run = ended(await ask());
    expect(resultOf(run)).toMatchObject({ result: ANSWER });
    expect(engine.turns()).toHaveLength(2);
  });

  it('counts what its context has', async () => {
    engine.follow(() => ({ text: ANSWER }));
    const before = stack.records().length;
    const run = ended(await ask({ prompt: '/context' }));
    expect(resultOf(run).result).toContain('Tokens');
    const records = since(before);
    expect(records.length).toBeGreaterThan(0);
    for (const record of records) {
      expect(record).toMatchObject({ route: 'messages.count_tokens', status: 200, outcome: 'completed' });
    }
  });

  it('knows a prompt that is too long', async () => {
    const run = ended(await ask({ key: SHORT }), 1);
    expect(resultOf(run).result).toContain('Prompt is too long');
    expect(resultOf(run).result).toContain('maximum context length is 4000 tokens');
  });

  it('says what is wrong with a key', async () => {
    const run = ended(await ask({ key: 'key-of-nobody' }), 1);
    expect(resultOf(run).result).toContain('401');
  });
});

describe('Codex CLI', () => {
  const ask = (asked: Partial<AskedAgent> = {}): Promise<AgentRun> =>
    world.codex({ url: stack.url, key: KEYS.noisy, ...asked });
  const saidBy = (run: AgentRun): readonly string[] =>
    run.lines.flatMap(({ item }) => (item?.type === 'agent_message' ? [item.text] : []));
  const cat: Turn = { thinking: 'I look.', tool: { name: 'exec_command', input: { cmd: 'cat notes.txt' } } };
  const whole = {
    route: 'responses',
    outcome: 'completed',
    status: 200,
    stream: true,
    droppedFields: ['tools.web_search'],
  };

  it('has a turn: what it offers and does not need is left out', async () => {
    engine.follow(() => ({ text: ANSWER }));
    const before = stack.records().length;
    const run = ended(await ask());
    expect(saidBy(run)).toEqual([ANSWER]);
    expect(run.lines.at(-1)).toMatchObject({ type: 'turn.completed', usage: { output_tokens: 7 } });
    expect(since(before)).toEqual([whole]);
    const { body } = engine.turns()[0] ?? {};
    const types = new Set(body.tools.map(({ type }: { type: string }) => type));
    expect(types).toEqual(new Set(['function', 'namespace']));
    expect(body).toMatchObject({ store: false, stream: true, include: ['reasoning.encrypted_content'] });
    expect(body.prompt_cache_key).toBeTruthy();
  });

  it('has a turn with the simulator', async () => {
    expect(saidBy(ended(await ask({ model: 'simulated' })))).toHaveLength(1);
  });

  it('runs a command, and goes on with what it has put out', async () => {
    engine.follow((_, before) => (before === 0 ? cat : { text: ANSWER }));
    const before = stack.records().length;
    const run = ended(await ask());
    expect(saidBy(run)).toEqual([ANSWER]);
    expect(since(before)).toEqual([whole, whole]);
    const items = engine.turns()[1]?.body.input;
    expect(items).toContainEqual(
      expect.objectContaining({ type: 'reasoning', encrypted_content: 'c2VjcmV0' }),
    );
    expect(items.at(-1)).toMatchObject({ type: 'function_call_output' });
    expect(items.at(-1).output).toContain('marmalade');
  });

  it('patches by a custom tool, with a model that it knows', async () => {
    const patch = '*** Begin Patch\n*** Add File: added.txt\n+hello\n*** End Patch';
    engine.follow((_, before) =>
      before === 0 ? { tool: { name: 'apply_patch', input: patch } } : { text: ANSWER },
    );
    expect(saidBy(ended(await ask({ model: 'gpt-5.5' })))).toEqual([ANSWER]);
    expect(engine.turns()[1]?.body.input.at(-1)).toMatchObject({ type: 'custom_tool_call_output' });
  });

  it('brings its tools as an item, with another', async () => {
    engine.follow(() => ({ text: ANSWER }));
    expect(saidBy(ended(await ask({ model: 'gpt-6.2-sol' })))).toEqual([ANSWER]);
    expect(engine.turns()[0]?.body.input[0]).toMatchObject({ type: 'additional_tools' });
  });

  it('compacts what has become too long', async () => {
    engine.follow((_, before) => (before === 0 ? cat : { text: ANSWER }));
    const run = ended(await ask({ more: ['-c', 'model_auto_compact_token_limit=500'] }));
    expect(saidBy(run)).toEqual([ANSWER]);
    expect(engine.turns()).toHaveLength(3);
  });

  it('waits for its turn where it asks too often', async () => {
    engine.follow((_, before) => (before === 0 ? cat : { text: ANSWER }));
    const before = stack.records().length;
    const run = ended(await ask({ key: SLOW.codex }));
    expect(saidBy(run)).toEqual([ANSWER]);
    expect(since(before).map(({ status }) => status)).toEqual([200, 429, 200]);
  });

  it('ends at once when the month is spent, and says so', async () => {
    const before = stack.records().length;
    const run = ended(await ask({ key: SPENT }), 1);
    expect(run.lines.at(-1)).toMatchObject({ type: 'turn.failed' });
    expect(run.lines.at(-1).error.message).toContain('Quota exceeded');
    expect(since(before).map(({ reason }) => reason)).toEqual(['insufficient_quota']);
  });

  it('asks again when its engine dies within an answer', async () => {
    engine.follow((_, before) => (before === 0 ? { text: LONG, dies: true } : { text: ANSWER }));
    expect(saidBy(ended(await ask()))).toEqual([ANSWER]);
    expect(engine.turns()).toHaveLength(2);
  });

  it('goes on over HTTP when it wanted a WebSocket', async () => {
    engine.follow(() => ({ text: ANSWER }));
    const run = ended(await ask({ more: ['-c', 'model_providers.fairlane.supports_websockets=true'] }));
    expect(saidBy(run)).toEqual([ANSWER]);
    expect(run.lines.filter(({ type }) => type === 'error')).toEqual([]);
    expect(engine.turns()).toHaveLength(1);
  });

  it('knows a prompt that is too long', async () => {
    const run = ended(await ask({ key: SHORT }), 1);
    expect(run.lines.at(-1).error.message).toContain("ran out of room in the model's context window");
  });

  it('says what is wrong with a key', async () => {
    // It tries five times else.
    const once = ['-c', 'model_providers.fairlane.stream_max_retries=0'];
    const run = ended(await ask({ key: 'key-of-nobody', more: once }), 1);
    expect(run.lines.at(-1).error.message).toContain('401');
  });
});

it('they talked to nobody else', () => {
  expect(world.wanted).toEqual([]);
});
