/** Bodies of the routes beside chat, and what their answers say. */
import { describe, expect, it } from 'vitest';
import type { CustomRoute, FoundRoute, RouteName } from '../../../src/domain/routes.ts';
import { createBodyMeter } from '../../../src/openai/body-meter.ts';
import { readForm } from '../../../src/openai/form/scan.ts';
import { understandForm } from '../../../src/openai/form-request.ts';
import { readJson } from '../../../src/openai/json/reader.ts';
import { namesOf } from '../../../src/openai/policy-names.ts';
import {
  changedBody,
  parseRequest,
  serialiseRequest,
  understandCustom,
} from '../../../src/openai/request.ts';
import { believe, mostPrompt, type UsageFacts } from '../../../src/usage/believed-usage.ts';
import { policyWith } from '../../support/documents.ts';

const policy = policyWith();
const parse = (route: RouteName, body: object) =>
  parseRequest(route, Buffer.from(JSON.stringify({ model: 'm', ...body })), policy);
const accepted = (route: RouteName, body: object) => {
  const result = parse(route, body);
  if (result.kind === 'bad') throw new Error(result.error.message);
  return result.request;
};
const messages = [{ role: 'user', content: 'hello' }];
const URL_PART = { type: 'image_url', image_url: { url: 'http://10.0.0.1/x' } };

describe('a body', () => {
  it.each([
    ['responses.compact', { input: 'x' }],
    ['responses.compact', { input: [{ role: 'user', content: 'x' }], previous_response_id: 'resp_1' }],
    ['messages.count_tokens', { messages, system: 'be kind', tools: [] }],
    ['rerank', { query: 'q', documents: ['a', 'b'], top_n: 1 }],
    ['rerank', { query: { content: [{ type: 'text', text: 'q' }] }, documents: [{ text: 'a' }] }],
    ['score', { text_1: 'a', text_2: 'b' }],
    ['score', { data_1: ['a'], data_2: ['b'] }],
    ['score', { queries: 'a', documents: ['b'] }],
    ['score', { query: 'a', items: ['b', 'c'], label_token_ids: [1, 2] }],
    ['score', { query: [1, 2], items: [[1], [2]] }],
    ['classify', { input: ['a'] }],
    ['classify', { messages }],
    ['pooling', { input: [[1, 2], [3]] }],
    ['tokenize', { prompt: 'a' }],
    ['tokenize', { prompt: ['a', 'b'] }],
    ['tokenize', { messages }],
    ['tokenize', { content: 'a' }],
    ['detokenize', { tokens: [1, 2] }],
    ['audio.speech', { input: 'a', voice: 'alloy' }],
    ['images.generations', { prompt: 'a', n: 2, size: '1024x1024' }],
  ] as const)('of %s is taken, and sent on as it is: %o', (route, body) => {
    const request = accepted(route, body);
    expect(changedBody(request, { includeUsage: true })).toBeUndefined();
    expect(request.promptBytes).toBeGreaterThan(0);
    const changed = Buffer.concat(serialiseRequest(request, { includeUsage: true, model: 'other' }));
    expect(JSON.parse(changed.toString())).toEqual({ ...body, model: 'other' });
  });

  it.each([
    ['messages.count_tokens', {}, 'messages'],
    ['messages.count_tokens', { messages: 'x' }, 'messages'],
    ['messages.count_tokens', { messages: [{ role: 'user', content: [URL_PART] }] }, 'messages'],
    ['rerank', {}, 'query'],
    ['rerank', { documents: ['a'] }, 'query'],
    ['rerank', { query: 'q' }, 'documents'],
    ['rerank', { query: 'q', documents: [] }, 'documents'],
    ['rerank', { query: 'q', documents: [1, 'a'] }, 'documents'],
    ['rerank', { query: 7, documents: ['a'] }, 'query'],
    ['rerank', { query: 'q', documents: { content: [URL_PART] } }, 'documents'],
    ['score', {}, 'text_1'],
    ['score', { text_1: 'a' }, 'text_2'],
    ['score', { text_1: 'a', text_2: true }, 'text_2'],
    ['score', { query: 'a' }, 'items'],
    ['classify', {}, 'input'],
    ['classify', { input: {} }, 'input'],
    ['pooling', { data: { url: 'http://10.0.0.1/' } }, 'data'],
    ['pooling', { data: 'x', input: 'x' }, 'data'],
    ['tokenize', {}, 'prompt'],
    ['tokenize', { prompt: 7 }, 'prompt'],
    ['detokenize', {}, 'tokens'],
    ['detokenize', { tokens: ['a'] }, 'tokens'],
    ['detokenize', { tokens: [1.5] }, 'tokens'],
    ['audio.speech', {}, 'input'],
    ['audio.speech', { input: ['a'] }, 'input'],
    ['audio.speech', { input: 'a', ref_audio: 'http://10.0.0.1/a.wav' }, 'ref_audio'],
    ['audio.speech', { input: 'a', ref_audio: '/etc/passwd' }, 'ref_audio'],
    ['audio.speech', { input: 'a', Ref_Audio: 'data:,' }, 'body'],
    ['images.generations', { prompt: 'a', image: ['file:///etc/passwd'] }, 'image'],
    ['images.generations', { prompt: 'a', reference_url: 'http://10.0.0.1/' }, 'reference_url'],
    ['images.generations', { prompt: 'a', n: 0 }, 'n'],
    ['images.generations', { prompt: 'a', n: 1_000 }, 'n'],
    ['responses.compact', { input: 'x', conversation: 'conv_1' }, 'conversation'],
    ['responses.compact', { input: 'x', tools: [{ type: 'mcp' }] }, 'tools'],
  ] as const)('of %s that is %o is a 400 that names %s', (route, body, param) => {
    expect(parse(route, body)).toMatchObject({ kind: 'bad', error: { status: 400, param } });
  });

  it.each(['rerank', 'score', 'tokenize', 'audio.speech', 'images.generations'] as const)(
    'of %s has no field that is forbidden',
    (route) => {
      const body = {
        query: 'q',
        documents: ['a'],
        text_1: 'a',
        text_2: 'b',
        prompt: 'p',
        input: 'i',
        priority: 1,
        lora: {},
      };
      const { dropped } = accepted(route, body);
      expect(dropped).toEqual(['priority', 'lora']);
    },
  );

  it('of images has as many outputs as images, and no tokens of output', () => {
    expect(accepted('images.generations', { prompt: 'a', n: 3 })).toMatchObject({
      outputs: 3,
      maxOutputTokens: 0,
    });
  });

  it('counts a text as often as it stands in a pair', () => {
    const one = accepted('rerank', { query: 'q'.repeat(100), documents: ['d'.repeat(10)] });
    const ten = accepted('rerank', { query: 'q'.repeat(100), documents: Array(10).fill('d'.repeat(10)) });
    expect([one.promptBytes, one.pairs]).toEqual([110, 1]);
    expect([ten.promptBytes, ten.pairs]).toEqual([1_100, 10]);
    expect(accepted('score', { text_1: ['aa', 'bb'], text_2: ['c', 'd'] })).toMatchObject({
      promptBytes: 6,
      pairs: 2,
    });
  });
});

describe('what is believed', () => {
  const facts: UsageFacts = {
    route: 'rerank',
    bodyBytes: 1_500,
    promptBytes: 100_000,
    hasMedia: false,
    storedTokens: 0,
    outputs: 1,
    pairs: 100,
    outputLimit: 0,
    contextTokens: undefined,
  };
  it('of pairs is bounded by all of them, not by what was sent once', () => {
    expect(mostPrompt(facts)).toBeGreaterThan(100_000);
    expect(mostPrompt({ ...facts, pairs: 1 })).toBeLessThan(5_000);
  });

  it('of output that only the engine knows is what it reports; where it must be none, nothing', () => {
    const seen = { events: 0, streamed: false, isFinal: true };
    const reported = { promptTokens: 10, completionTokens: 4_096, cachedTokens: 0 };
    const none = { promptTokens: 5, completionTokens: 0 };
    const images = believe(reported, false, { ...facts, route: 'images.generations' }, seen, none);
    expect(images).toMatchObject({ usage: reported, odd: [] });
    expect(
      believe(undefined, false, { ...facts, route: 'audio.speech' }, seen, none).usage.completionTokens,
    ).toBe(0);
  });
});

describe('an answer', () => {
  const meter = (route: RouteName, answer: unknown) => {
    const body = createBodyMeter(route);
    body.push(Buffer.from(typeof answer === 'string' ? answer : JSON.stringify(answer)), 1);
    body.end();
    return body.result();
  };
  it.each([
    ['rerank', { usage: { total_tokens: 7 }, results: [] }, 7],
    ['rerank', { usage: { prompt_tokens: 6, total_tokens: 7 } }, 6],
    ['score', { usage: { prompt_tokens: 5, total_tokens: 5, completion_tokens: 9 } }, 5],
  ] as const)('of %s: %o has a prompt and no output', (route, answer, promptTokens) => {
    expect(meter(route, answer)).toMatchObject({ usage: { promptTokens, completionTokens: 0 } });
  });

  it('of SGLang’s ranks, a list, says nothing', () => {
    expect(meter('rerank', [{ score: 1, index: 0 }]).usage).toBeUndefined();
  });

  it.each([
    [{ text: 'x', usage: { type: 'duration', seconds: 12 } }, 12],
    [{ text: 'x', duration: 8.25 }, 8.25],
    [{ text: 'x', duration: '8.25' }, 8.25],
    [{ text: 'x', usage: { type: 'duration', seconds: -1 } }, undefined],
    [{ text: 'x', usage: { type: 'duration', seconds: 1e9 } }, undefined],
    [{ text: 'x', duration: 'long' }, undefined],
    [{ text: 'x', duration: ['1'] }, undefined],
    ['1\n00:00 --> 00:01\nhello', undefined],
  ])('to audio: %o is %s seconds, and nothing odd', (answer, seconds) => {
    const result = meter('audio.transcriptions', answer);
    expect(result.amount?.audioSeconds).toBe(seconds);
    expect(result).not.toHaveProperty('oddUsage');
  });

  it('to audio may have tokens', () => {
    const usage = { type: 'tokens', input_tokens: 14, output_tokens: 45, total_tokens: 59 };
    expect(meter('audio.transcriptions', { text: 'x', usage }).usage).toMatchObject({
      promptTokens: 14,
      completionTokens: 45,
    });
  });

  it('of images is counted in images, however large it is', () => {
    for (const size of [10, 100_000]) {
      const data = [{ b64_json: 'x'.repeat(size) }, { b64_json: 'y' }];
      expect(meter('images.generations', { created: 1, data }).amount).toEqual({ images: 2 });
    }
    expect(meter('images.generations', { data: {} }).amount).toBeUndefined();
    expect(meter('embeddings', { data: [1] }).amount).toBeUndefined();
  });

  it('that is no JSON is bytes, whatever is in it', () => {
    const body = createBodyMeter('audio.speech', false);
    const sound = Buffer.from('{"usage":{"prompt_tokens":1}}');
    body.push(sound, 1);
    body.end();
    expect(body.result()).toMatchObject({ bytes: sound.length, finished: true });
    expect(body.result().usage).toBeUndefined();
  });
});

describe('a form', () => {
  const route: FoundRoute = {
    name: 'audio.transcriptions',
    path: '/v1/audio/transcriptions',
    body: 'multipart',
  };
  const field = (name: string, value: string) =>
    `content-disposition: form-data; name="${name}"\r\n\r\n${value}`;
  const FILE = 'content-disposition: form-data; name="file"; filename="a.wav"\r\n\r\nsound';
  const bytesOf = (...parts: readonly string[]) =>
    Buffer.from(`${parts.map((part) => `--b1\r\n${part}\r\n`).join('')}--b1--\r\n`);
  const read = (parts: readonly string[], on: FoundRoute = route, rules = policy) =>
    understandForm(on, readForm(bytesOf(...parts), 'b1'), rules);
  const request = (...parts: readonly string[]) => {
    const result = read(parts);
    if (result.kind === 'bad') throw new Error(result.error.message);
    return result.request;
  };
  const sent = (parts: readonly string[], model: string) =>
    Buffer.concat(serialiseRequest(request(...parts), { includeUsage: true, model })).toString();

  it('is sent on as it is, but for its model', () => {
    const parts = [FILE, field('model', 'm'), field('prompt', 'x')];
    expect(changedBody(request(...parts), { includeUsage: true })).toBeUndefined();
    expect(sent(parts, 'other')).toBe(
      bytesOf(FILE, field('model', 'other'), field('prompt', 'x')).toString(),
    );
  });

  it('has no length of a model that is another', () => {
    const model = 'content-disposition: form-data; name="model"\r\ncontent-length: 1\r\n\r\nm';
    expect(sent([model, FILE], 'other')).toBe(bytesOf(field('model', 'other'), FILE).toString());
  });

  it('goes on without what is forbidden, wherever that stands', () => {
    const forbidden = field('vllm_xargs', '{"x":1}');
    const kept = [field('model', 'm'), FILE];
    for (const parts of [
      [forbidden, ...kept],
      [...kept, forbidden],
      [kept[0] ?? '', forbidden, kept[1] ?? ''],
    ]) {
      const parsed = request(...parts);
      expect(parsed.dropped).toEqual(['vllm_xargs']);
      expect(Buffer.concat(changedBody(parsed, { includeUsage: true }) ?? []).toString()).toBe(
        bytesOf(...kept).toString(),
      );
    }
    const refusing = { ...policy, fields: { ...policy.fields, onForbidden: 'refuse' as const } };
    expect(read([forbidden, ...kept], route, refusing)).toMatchObject({ error: { code: 'forbidden_field' } });
  });

  it.each([
    ['no model', [FILE], 'model'],
    ['an empty model', [field('model', ''), FILE], 'model'],
    ['a model with a line break', [field('model', 'a\nb'), FILE], 'model'],
    ['a long model', [field('model', 'm'.repeat(257)), FILE], 'model'],
    ['two models', [field('model', 'a'), FILE, field('model', 'b')], 'model'],
    ['a model in other letters', [field('model', 'a'), field('Model', 'b'), FILE], 'Model'],
    ['a model in a list', [field('model', 'a'), field('model[]', 'b'), FILE], 'model[]'],
    ['a model that is a file', [FILE.replace('"file"', '"model"'), FILE], 'model'],
    ['a file that is none', [field('model', 'a'), field('file', 'http://10.0.0.1/')], 'file'],
    ['no file', [field('model', 'a')], 'file'],
    ['two files', [field('model', 'a'), FILE, FILE], 'file'],
    ['another file', [field('model', 'a'), FILE, FILE.replace('"file"', '"x"')], 'x'],
    ['an address', [field('model', 'a'), FILE, field('url', 'http://10.0.0.1/')], 'url'],
    ['a charset', [field('model', 'a'), FILE, field('_charset_', 'utf-16')], '_charset_'],
    ['a long field', [field('model', 'a'), FILE, field('prompt', 'x'.repeat(65_537))], 'prompt'],
    ['a stream of nothing', [field('model', 'a'), FILE, field('stream', 'maybe')], 'stream'],
  ])('with %s is a 400', (_, parts, param) => {
    expect(read(parts)).toMatchObject({ kind: 'bad', error: { status: 400, param } });
  });

  it('whose field is no UTF-8 is a 400', () => {
    const bytes = Buffer.from(
      bytesOf(field('model', 'm~'), FILE).toString('latin1').replace('~', '\xff'),
      'latin1',
    );
    expect(understandForm(route, readForm(bytes, 'b1'), policy)).toMatchObject({ error: { param: 'model' } });
  });

  it('costs what its file does, and its text', () => {
    const small = request(field('model', 'm'), FILE, field('prompt', 'twelve bytes'));
    expect(small).toMatchObject({ promptBytes: 4 * 256 + 12, hasMedia: true, stream: false, outputs: 1 });
    const large = request(field('model', 'm'), FILE + 'x'.repeat(750_000), field('stream', 'true'));
    expect(large.promptBytes).toBeGreaterThanOrEqual(10_000);
    expect(large.stream).toBe(true);
  });

  it('of a route of the configuration may have any files, and no model but the route’s', () => {
    const custom: CustomRoute = {
      name: 'x',
      method: 'POST',
      path: '/x',
      body: 'multipart',
      metered: 'usage',
      model: 'm',
    };
    const on: FoundRoute = { name: 'custom.usage', path: '/x', body: 'multipart', custom };
    expect(read([FILE, FILE.replace('"file"', '"other"')], on)).toMatchObject({ request: { model: 'm' } });
    expect(read([field('model', 'm'), FILE], on)).toMatchObject({ kind: 'ok' });
    expect(read([field('model', 'n'), FILE], on)).toMatchObject({ error: { param: 'model' } });
    expect(read([field('priority', '1')], on)).toMatchObject({ kind: 'bad' });
  });
});

describe('JSON of a route of the configuration', () => {
  const read = (own: string | undefined, body: unknown) =>
    understandCustom(
      'custom.usage',
      own,
      readJson(Buffer.from(JSON.stringify(body)), namesOf(policy.fields)),
      policy,
    );
  it('is for the model that it names, or the route’s', () => {
    expect(read(undefined, { model: 'm', text: 'abc' })).toMatchObject({
      request: { model: 'm', promptBytes: 3 },
    });
    expect(read('own', { text: 'abc' })).toMatchObject({ request: { model: 'own', isModelUnwritten: true } });
    expect(read('own', { model: 'own' })).toMatchObject({ kind: 'ok' });
    for (const body of [{ model: 'm' }, { model: 7 }, { MODEL: 'm' }, []])
      expect(read('own', body).kind).toBe('bad');
    expect(read(undefined, { text: 'x' })).toMatchObject({ error: { param: 'model' } });
  });

  it('gets no model that it did not name, and loses what is forbidden', () => {
    const result = read('own', { text: 'abc', priority: 1 });
    if (result.kind === 'bad') throw new Error(result.error.message);
    const changes = { includeUsage: true, model: 'renamed' };
    expect(Buffer.concat(serialiseRequest(result.request, changes)).toString()).toBe('{"text":"abc"}');
  });
});
