/**
 * The official clients of Python and LangChain: the snippets of docs/clients.md as they stand there, and every field of every answer
 * checked by their own types.
 */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { DEMO_KEY, run, snippet } from '../support/clients/page.ts';
import { pythonWith } from '../support/clients/python.ts';
import { type ClientStack, hastyKey, SPENT_KEY, startClientStack } from '../support/clients/stack.ts';
import { TOOL_MODEL } from '../support/clients/tool-engine.ts';

const OFFICIAL = fileURLToPath(new URL('../support/clients/official.py', import.meta.url));
const INSTALL_MS = 600_000;
/** LangChain takes seconds to be read. */
vi.setConfig({ testTimeout: 180_000 });

let clients: ClientStack;
let python = '';
/** By the names of its cases. */
let official: Readonly<Record<string, unknown>> = {};

beforeAll(async () => {
  python = await pythonWith('python');
  clients = await startClientStack();
  const keys = [DEMO_KEY, SPENT_KEY, hastyKey('openai'), hastyKey('anthropic')];
  const ran = await run(python, ['-W', 'ignore', OFFICIAL, clients.stack.url, ...keys, TOOL_MODEL]);
  expect(ran).toMatchObject({ code: 0, stderr: '' });
  official = JSON.parse(ran.stdout) as Readonly<Record<string, unknown>>;
}, INSTALL_MS);
afterAll(() => clients.close());

it.each(['openai-python', 'azure-python', 'anthropic-python', 'langchain'])(
  'the snippet of docs/clients.md: %s',
  async (name) => {
    const { code, stdout, stderr } = await run(python, ['-c', snippet(name, clients.stack.url)]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/the engine says one word/);
    if (name !== 'azure-python') expect(stdout).toMatch(/\n\d+ tokens\n/);
    if (name === 'langchain') expect(stdout).toMatch(/\n8 numbers\n/);
  },
);

describe('the official clients, strict about every field', () => {
  const MODELS = ['demo', 'org/name', TOOL_MODEL];
  const CITY = { city: 'Paris' };
  const WORDS = 'the engine says one';
  it.each([
    ['openai_chat', [4, 'length', true]],
    ['openai_stream', [WORDS, 4]],
    ['openai_tools', [CITY, 'It is sunny.']],
    ['openai_tools_stream', ['weather', CITY]],
    ['openai_responses_tools', ['weather', true, 'It is sunny.']],
    ['openai_responses_stored', [true, 1, true, 'response_not_found']],
    ['openai_completions_and_embeddings', ['the engine says', 2]],
    ['openai_models', [MODELS, 'org/name']],
    ['openai_audio_and_images', ['heard speech.wav, 20000 bytes', 2, 'en', 2_048, 2]],
    [
      'openai_errors',
      [
        ['AuthenticationError', 'invalid_api_key'],
        ['NotFoundError', 'model_not_found'],
        // The engine's own.
        ['BadRequestError', '400'],
      ],
    ],
    ['azure', ['demo', 'org/name', 'heard speech.wav, 20000 bytes', 1, 3]],
    ['anthropic_messages', [WORDS, 'max_tokens', WORDS, 4]],
    ['anthropic_tools', ['tool_use', CITY, CITY, 'It is sunny.']],
    ['anthropic_counts_and_models', [true, MODELS, 'active']],
    [
      'anthropic_errors',
      [
        ['AuthenticationError', 'error', 'authentication_error', true],
        ['NotFoundError', 'error', 'not_found_error', true],
        ['AuthenticationError', 'error', 'authentication_error', true],
      ],
    ],
  ])('%s', (name, expected) => {
    expect(official[name]).toEqual(expected);
  });

  it('are all looked at', () => {
    expect(Object.keys(official)).toHaveLength(19);
  });
});

describe('trying again', () => {
  const outcomesOf = (tenant: string): readonly unknown[] =>
    clients.stack
      .records()
      .filter((record) => record.tenant === tenant)
      .map(({ outcome, route }) => `${route} ${outcome}`);

  it('openai and anthropic raise a spent month at once: each asks one time', () => {
    expect([official['openai_spent'], official['anthropic_spent']]).toEqual(['false', 'false']);
    expect(outcomesOf('spent')).toEqual(['chat.completions refused', 'messages refused']);
  });

  it.each([
    ['openai', 'chat.completions'],
    ['anthropic', 'messages'],
  ])('%s waits as long as it is told, and gets through', (name, route) => {
    // One that did not obey would come too early twice, and fail.
    expect(official[`${name}_waits`]).toBeGreaterThan(0.37);
    const outcomes = [`${route} completed`, `${route} refused`, `${route} completed`];
    expect(outcomesOf(`hasty-${name}`)).toEqual(outcomes);
  });
});
