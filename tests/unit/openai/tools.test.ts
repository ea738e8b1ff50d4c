import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CommonRoute } from '../../../src/domain/routes.ts';
import type { ParsedRequest } from '../../../src/openai/parsed-request.ts';
import { changedBody, parseRequest } from '../../../src/openai/request.ts';
import { policyWith } from '../../support/documents.ts';

const FUNCTION = { type: 'function', name: 'f' };
const SEARCH = { type: 'web_search', external_web_access: false };
const BODY = { model: 'm', max_tokens: 5, input: 'x', messages: [{ role: 'user', content: 'x' }] };
const ROUTES: readonly CommonRoute[] = ['responses', 'chat.completions', 'messages'];

type Policy = Parameters<typeof policyWith>[0];
const read = (body: object | string, route: CommonRoute = 'responses', policy?: Policy) =>
  parseRequest(
    route,
    Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
    policyWith(policy),
  );
function accepted(...args: Parameters<typeof read>): ParsedRequest {
  const result = read(...args);
  if (result.kind === 'bad') throw new Error(result.error.message);
  return result.request;
}
const codeOf = (...args: Parameters<typeof read>): string => {
  const result = read(...args);
  return result.kind === 'bad' ? result.error.code : 'accepted';
};
const sentText = (request: ParsedRequest): string =>
  Buffer.concat(changedBody(request, { includeUsage: false }) ?? [request.document.bytes]).toString();

describe('web search that is offered beside other tools', () => {
  it.each(ROUTES)('%s: the request goes on without it, and it is told', (route) => {
    for (const type of ['web_search', 'web_search_preview', 'web_search_20250305']) {
      const request = accepted({ ...BODY, tools: [FUNCTION, { ...SEARCH, type }] }, route);
      expect(request.dropped).toEqual([`tools.${type}`]);
      expect(JSON.parse(sentText(request))).toEqual({ ...BODY, tools: [FUNCTION] });
    }
  });

  it('is left out while the model may leave it alone', () => {
    const tools = [FUNCTION, SEARCH];
    for (const choice of ['auto', 'none', null, { type: 'auto' }, { type: 'none' }]) {
      expect(codeOf({ ...BODY, tools, tool_choice: choice })).toBe('accepted');
    }
    for (const choice of [
      'required',
      'any',
      7,
      {},
      { type: 'any' },
      { type: 'web_search' },
      { type: 'tool', name: 'web_search' },
      { type: 'allowed_tools', mode: 'auto', tools: [SEARCH] },
    ]) {
      expect(codeOf({ ...BODY, tools, tool_choice: choice })).toBe('tool_refused');
    }
  });

  it('is refused where nothing is left without it, within other tools, and where nothing may be left out', () => {
    expect(codeOf({ ...BODY, tools: [SEARCH] })).toBe('tool_refused');
    expect(codeOf({ ...BODY, tools: [SEARCH, SEARCH] })).toBe('tool_refused');
    expect(codeOf({ ...BODY, tools: [FUNCTION, { type: 'namespace', tools: [SEARCH] }] })).toBe(
      'tool_refused',
    );
    expect(codeOf({ ...BODY, input: [{ type: 'additional_tools', tools: [FUNCTION, SEARCH] }] })).toBe(
      'tool_refused',
    );
    expect(codeOf({ ...BODY, tools: [FUNCTION, SEARCH] }, 'responses', { onForbidden: 'refuse' })).toBe(
      'tool_refused',
    );
    expect(codeOf({ ...BODY, tools: [FUNCTION, ...Array.from({ length: 17 }, () => SEARCH)] })).toBe(
      'tool_refused',
    );
  });

  it('does not take another tool with it that acts elsewhere', () => {
    for (const type of ['mcp', 'code_interpreter', 'web_fetch_20250910', 'xweb_search', 'Web_search', '']) {
      expect(codeOf({ ...BODY, tools: [FUNCTION, SEARCH, { type }] })).toBe('tool_refused');
    }
    expect(codeOf({ ...BODY, tools: [FUNCTION, SEARCH, { Type: 'mcp' }] })).not.toBe('accepted');
  });

  it('stays where it is allowed', () => {
    const request = accepted({ ...BODY, tools: [FUNCTION, SEARCH] }, 'responses', { tools: ['*'] });
    expect(request.dropped).toEqual([]);
    expect(changedBody(request, { includeUsage: false })).toBeUndefined();
  });

  it('is no prompt', () => {
    const long = { ...SEARCH, user_location: { city: 'x'.repeat(10_000) } };
    const without = accepted({ ...BODY, tools: [FUNCTION] }).promptBytes;
    expect(accepted({ ...BODY, tools: [FUNCTION, long] }).promptBytes).toBe(without);
  });

  it('leaves the other tools as they came, byte for byte, wherever it stands', () => {
    const space = fc.constantFrom('', ' ', '\n\t');
    const own = fc.constantFrom(
      '{"type":"function","name":"f"}',
      '{ "name":"g" , "input_schema":{"a":[1.10,{}]}}',
      '"odd"',
      '{}',
      'null',
    );
    const search = fc.constantFrom(
      '{"type":"web_search"}',
      '{"filters":{"x":["]"]}, "type":"web_se\\u0061rch"}',
      // Fields that are forbidden are left out by themselves, too.
      '{"cache_salt":"x","type":"web_search", "priority":1}',
    );
    const tool = fc.oneof(fc.tuple(fc.constant(false), own), fc.tuple(fc.constant(true), search));
    fc.assert(
      fc.property(fc.array(fc.tuple(tool, space, space), { minLength: 1, maxLength: 8 }), (list) => {
        const kept = list.filter(([[isSearch]]) => !isSearch);
        fc.pre(kept.length > 0);
        const text = list.map(([[, json], before, behind]) => before + json + behind).join(',');
        const sent = sentText(
          accepted(`{"model":"m","input":"x","priority":1,"tools":[${text}] ,"cache_salt":"x" , "user":"u"}`),
        );
        expect(JSON.parse(sent)).toEqual({
          model: 'm',
          input: 'x',
          tools: kept.map(([[, json]]) => JSON.parse(json) as unknown),
          user: 'u',
        });
        for (const [[, json]] of kept) expect(sent).toContain(json);
      }),
      { seed: 14, numRuns: 500 },
    );
  });
});
