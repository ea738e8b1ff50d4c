/** What an engine gets is the client's own body, to the byte, but for what is changed on purpose. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_FORBIDDEN_FIELDS } from '../../src/config/forbidden-fields.ts';
import { type CommonRoute, ROUTES } from '../../src/domain/routes.ts';
import { expectedOf, placesOf } from '../prove/unaltered/oracle.ts';
import { send } from '../support/client.ts';
import { CLIENT_BODIES } from '../support/client-bodies.ts';
import { eventually } from '../support/eventually.ts';
import { type RecordingEngine, startRecordingEngine } from '../support/recording-engine.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

const CAPPED = 'key-of-the-capped-one';
let engine: RecordingEngine;
let stack: Stack;

beforeAll(async () => {
  engine = await startRecordingEngine(['demo']);
  stack = await startStack({
    engines: [engine.url],
    change(config) {
      config['aliases'] = { alias: 'demo' };
      config['tenants']['capped'] = { keys: [CAPPED], limits: { maxContext: 1_000_000 } };
    },
  });
  await eventually(
    () => post('chat.completions', '{"model":"demo","messages":[{"role":"user","content":"x"}]}'),
    ({ status }) => status === 200,
  );
});
afterAll(async () => {
  await stack.close();
  await engine.close();
});

const post = (route: CommonRoute, body: string | Buffer, key: string = KEYS.quiet) =>
  send(stack.url, { key, path: ROUTES[route].path, body });

/** Sends a body. @returns what the engine got, and the length that it was told. */
async function received(
  route: CommonRoute,
  text: string,
  key?: string,
): Promise<{ readonly body: string; readonly length: string | string[] | undefined }> {
  engine.forget();
  expect(await post(route, text, key)).toMatchObject({ status: 200 });
  const [request] = engine.received();
  return { body: request?.body ?? '', length: request?.headers['content-length'] };
}

/** With `stream` as it is wanted, where it stands or at the end. */
function streamed(text: string, stream: boolean): string {
  const { members, end } = placesOf(text);
  const found = members.find(({ key }) => key === 'stream')?.value;
  return found === undefined
    ? `${text.slice(0, end - 1)},"stream":${stream}${text.slice(end - 1)}`
    : `${text.slice(0, found.start)}${stream}${text.slice(found.end)}`;
}

describe.each(CLIENT_BODIES)('a body of $name', ({ route, bytes }) => {
  it.each([true, false])('arrives as it was sent, with stream: %s', async (stream) => {
    const text = streamed(bytes.toString(), stream);
    const { body, length } = await received(route, text);
    expect(body).toBe(expectedOf(text, route, DEFAULT_FORBIDDEN_FIELDS, { includeUsage: true }));
    expect(length).toBe(String(Buffer.byteLength(body)));
  });

  it('has another model and a cap, and nothing else that is ours', async () => {
    const text = streamed(bytes.toString(), true).replace(/("model"\s*:\s*)"demo"/, '$1"alias"');
    const { body, length } = await received(route, text, CAPPED);
    // How much the cap leaves is computed elsewhere; that there is one, where, and nothing else, is said here.
    const cap = /^\s*\{(?:"stream_options":\{[^}]*\},)?"(?:max_tokens|max_output_tokens)":(\d+)/.exec(
      body,
    )?.[1];
    const expected = expectedOf(text, route, DEFAULT_FORBIDDEN_FIELDS, {
      includeUsage: true,
      model: 'demo',
      ...(cap !== undefined && { maxOutputTokens: Number(cap) }),
    });
    expect(body).toBe(expected);
    expect(length).toBe(String(Buffer.byteLength(body)));
  });
});

const chat = (members: string): string =>
  `{"model":"demo","messages":[{"role":"user","content":"x"}]${members}}`;

describe('numbers and names that a double or an object would change', () => {
  it.each([
    ['keys that count', ',"stream":true,"guided_json":{"zeta":1,"10":2,"2":{"9":0,"1":0}}'],
    ['long decimals', ',"stream":true,"temperature":0.1000000000000000055511151231257827'],
    ['a 64-bit seed', ',"stream":true,"seed":18446744073709551615'],
    [
      'a tool’s maximum',
      ',"tools":[{"type":"function","function":{"name":"f","parameters":{"maximum":9223372036854775807}}}]',
    ],
    ['-0, 1.0 and 1E2', ',"stream":true,"x":[-0,1.0,1E2,1e-07]'],
    ['what no double holds', ',"stream":true,"x":1E400'],
    ['escapes', ',"stream":true,"x":"\\u0000\\/\\u00e9\\ud83d\\ude00\\b"'],
    ['white space', ',\r\n\t"stream" : true , "x" : [ 1 , 2 ] \n'],
    ['nesting', `,"stream":true,"x":${'['.repeat(120)}${']'.repeat(120)}`],
  ])('%s', async (_, members) => {
    const { body } = await received('chat.completions', chat(members));
    const added = members.includes('"tools"') ? '' : '"stream_options":{"include_usage":true},';
    expect(body).toBe(chat(members).replace('{', `{${added}`));
  });

  it.each([
    ['n', '1E400'],
    ['max_tokens', '9007199254740993'],
    ['max_completion_tokens', '1e999'],
    ['best_of', '18446744073709551616'],
  ])('are refused by name in fields that are read: %s %s', async (name, value) => {
    engine.forget();
    const answer = await post('chat.completions', chat(`,"${name}":${value}`));
    expect(answer.status).toBe(400);
    expect(answer.json.error).toMatchObject({ param: name });
    expect(answer.json.error.message).toContain(`'${name}'`);
    expect(engine.received()).toHaveLength(0);
  });
});
