import { describe, expect, it } from 'vitest';
import { DEFAULT_FORBIDDEN_FIELDS, DEFAULT_TOOLS } from '../../../src/config/forbidden-fields.ts';
import { findForbidden } from '../../../src/openai/forbidden.ts';
import { FIELDS, jsonDocumentOf } from '../../support/documents.ts';
import { minimal, parse, put } from './parse.ts';

const matches = (field: string, path: string): boolean =>
  field.endsWith('*')
    ? path.startsWith(field.slice(0, -1)) && !path.slice(field.length - 1).includes('.')
    : path === field;

const forbiddenIn = (body: unknown): readonly string[] => findForbidden(jsonDocumentOf(body), FIELDS).names;

describe('the default list', () => {
  it('can be written in a configuration, and says nothing twice', () => {
    expect(DEFAULT_FORBIDDEN_FIELDS.length).toBeLessThanOrEqual(256);
    for (const field of DEFAULT_FORBIDDEN_FIELDS) expect(field).toMatch(/^[A-Za-z0-9_.-]{1,128}\*?$/);
    for (const field of DEFAULT_FORBIDDEN_FIELDS) {
      const concrete = field.replace('*', 'x');
      const same = DEFAULT_FORBIDDEN_FIELDS.filter(
        (other) => matches(other, concrete) || concrete.startsWith(`${other}.`),
      );
      expect(same).toEqual([field]);
    }
  });

  it('names what gives orders within other fields', () => {
    const part = {
      type: 'text',
      text: 'x',
      uuid: 'a',
      image_url: { url: 'data:,', content_hash: 'sha256:0' },
    };
    const video = { type: 'video_url', video_url: { url: 'data:,', fps: 1000, max_frames: 1e9 } };
    expect(
      forbiddenIn({
        model: 'm',
        messages: [
          { role: 'user', content: 'x' },
          { role: 'user', content: [part, video] },
        ],
        chat_template_kwargs: {
          chat_template: '{{ x }}',
          tokenize: false,
          messages: [],
          enable_thinking: true,
        },
        mm_processor_kwargs: { size: 1e9 },
      }),
    ).toEqual([
      'messages.content.uuid',
      'messages.content.image_url.content_hash',
      'messages.content.video_url.fps',
      'messages.content.video_url.max_frames',
      'chat_template_kwargs.chat_template',
      'chat_template_kwargs.tokenize',
      'chat_template_kwargs.messages',
      'mm_processor_kwargs',
    ]);
  });

  it('leaves alone what ordinary clients send', () => {
    const schema = { type: 'object', properties: { priority: { type: 'string' }, uuid: { type: 'string' } } };
    expect(
      forbiddenIn({
        model: 'm',
        messages: [
          { role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:,', detail: 'high' } }] },
          {
            role: 'assistant',
            tool_calls: [{ id: '1', type: 'function', function: { name: 'f', arguments: '{}' } }],
          },
          { role: 'tool', tool_call_id: '1', content: 'x' },
        ],
        tools: [{ type: 'function', function: { name: 'f', parameters: schema } }],
        tool_choice: 'auto',
        response_format: { type: 'json_schema', json_schema: { name: 's', schema } },
        structured_outputs: { regex: 'a*' },
        guided_json: schema,
        grammar: 'root ::= "a"',
        chat_template_kwargs: { enable_thinking: false, thinking_budget: 100, documents: [] },
        reasoning: { effort: 'low' },
        thinking: { type: 'enabled', budget_tokens: 1024 },
        thinking_token_budget: 100,
        stop: ['x'],
        logprobs: true,
        top_logprobs: 5,
        logit_bias: { 1: 2 },
        n: 2,
        min_tokens: 1,
        ignore_eos: true,
        stream_options: { include_usage: true, continuous_usage_stats: true },
        metadata: { priority: 'high', models: 'x' },
        user: 'u',
        service_tier: 'auto',
        store: false,
      }),
    ).toEqual([]);
  });
});

describe('the list of a configuration', () => {
  const parsed = (list: readonly string[], key = 'forbidden') => parse(put(minimal(), `fields.${key}`, list));
  const namesOf = (list: readonly string[], key: 'forbidden' | 'tools' = 'forbidden') => {
    const result = parsed(list, key);
    if (result.kind === 'bad') throw new Error(result.problems.join('\n'));
    return { names: result.config.fields[key], warnings: result.warnings.join('\n') };
  };

  it('replaces the built-in one, or adds to it and removes from it by single names', () => {
    expect(namesOf(['priority', 'bootstrap_*']).names).toEqual(['priority', 'bootstrap_*']);
    expect(namesOf([]).names).toEqual([]);
    const { names, warnings } = namesOf(['+logit_bias', '-chat_template', '+my_*', '-models', '+priority']);
    const kept = DEFAULT_FORBIDDEN_FIELDS.filter((name) => name !== 'chat_template' && name !== 'models');
    expect(names).toEqual([...kept, 'logit_bias', 'my_*']);
    expect(warnings).toBe('');
    expect(namesOf(['+web_search*', '-custom'], 'tools').names).toEqual([
      ...DEFAULT_TOOLS.filter((name) => name !== 'custom'),
      'web_search*',
    ]);
  });

  it('warns of a name that is not there to be removed, and says which is near or in the way', () => {
    expect(namesOf(['-chat_templat']).warnings).toContain('did you mean "chat_template"?');
    expect(namesOf(['-litellm_params']).warnings).toContain('it has "litellm_*", which matches it');
  });

  it.each([
    [['+a', 'b'], 'fields.forbidden[1]: has neither + nor -'],
    [['+a', '-a'], 'fields.forbidden[1]: "a" is added and removed; choose one'],
    [['+'], 'fields.forbidden[0]: must be'],
    [['+-a b'], 'fields.forbidden[0]: must be'],
  ])('that is %j is a problem', (list, expected) => {
    const result = parsed(list);
    expect(result.kind === 'bad' && result.problems.join('\n')).toContain(expected);
  });
});
