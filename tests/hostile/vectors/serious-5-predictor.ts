/** Serious 5: what one tenant's requests take does not change what another's are thought to take. */
import { expect } from 'vitest';
import { answerHeader } from '../support/h1.ts';
import { asking, chat, type Group, type Request, type Tools, type Vector } from '../support/vectors.ts';
import { remainingTokens } from '../support/victim.ts';
import type { World } from '../support/world.ts';

const PROMPT = 'word '.repeat(1_528);
const TOKENS = 1_910;
/** Part by which the same prompt's reservation may move. */
const TOLERANCE = 0.15;
const ODD_REQUESTS = 30;
const IMAGE = { type: 'image_url', image_url: { url: 'data:image/png;base64,iVBORw0KGgo=' } };

const usual = (tenant: 'watched' | 'newcomer'): Request => ({
  as: tenant,
  body: asking(`@@usage=${TOKENS},1@@`, {
    messages: [{ role: 'user', content: `${PROMPT} @@usage=${TOKENS},1@@` }],
    max_tokens: 1,
  }),
});

/** Tokens that are taken from a tenant's bucket for the usual request, before the engine has counted. */
async function reservation(
  world: World,
  send: Tools['send'],
  tenant: 'watched' | 'newcomer',
): Promise<number> {
  const before = await remainingTokens(world, tenant);
  const answer = await send(usual(tenant));
  expect(answer.status).toBe(200);
  return before - Number(answerHeader(answer, 'x-ratelimit-remaining-tokens'));
}

/** [what, the odd requests] */
const ODD: readonly (readonly [string, Request])[] = [
  ['a short prompt that takes 16,808 tokens', { body: asking('@@usage=16808,1@@') }],
  ['a short prompt that takes ten million', { body: asking('@@usage=10000000,1@@') }],
  [
    'an image that takes 20,000',
    {
      body: chat({
        messages: [{ role: 'user', content: [IMAGE, { type: 'text', text: '@@usage=20000,1@@' }] }],
      }),
    },
  ],
  [
    'an image without a type',
    {
      body: chat({
        messages: [
          {
            role: 'user',
            content: [{ image_url: IMAGE.image_url }, { type: 'text', text: '@@usage=20000,1@@' }],
          },
        ],
      }),
    },
  ],
  [
    'a message that says that it is an image',
    {
      body: chat({
        messages: [{ role: 'user', type: 'image', content: `${PROMPT}${PROMPT}@@usage=16808,1@@` }],
      }),
    },
  ],
  ['a long prompt that takes one token', { body: asking(`${PROMPT.repeat(20)} @@usage=1,1@@`) }],
  ['a long prompt of one letter', { body: asking(`${'a'.repeat(400_000)} @@usage=50000,1@@`) }],
  ['a stream', { body: asking('@@usage=16808,1@@', { stream: true }) }],
  ['many outputs', { body: asking('@@usage=16808,1@@', { n: 16 }) }],
  [
    'another route',
    { path: '/v1/completions', body: { model: 'demo', prompt: 'x @@usage=16808,1@@', max_tokens: 1 } },
  ],
  ['messages of Anthropic', { path: '/v1/messages', body: { ...asking('@@usage=16808,1@@') } }],
  ['responses', { path: '/v1/responses', body: { model: 'demo', input: 'x @@usage=16808,1@@' } }],
  [
    'tools',
    { body: asking('@@usage=16808,1@@', { tools: [{ type: 'function', function: { name: 'f' } }] }) },
  ],
  ['a count below zero', { body: asking('@@usage=-5,-5@@') }],
  ['a count that is no integer', { body: asking('@@usage=0.5,0.5@@') }],
];

const poison = (tenant: 'watched' | 'newcomer', most: number, name: string, odd: Request): Vector => ({
  name: `${name}, for a tenant who ${tenant === 'watched' ? 'is known' : 'is new'}`,
  async send({ world, send }) {
    for (let i = 0; i < 6; i += 1) await send(usual('watched'));
    const before = tenant === 'watched' ? await reservation(world, send, tenant) : TOKENS;
    for (let i = 0; i < (tenant === 'watched' ? ODD_REQUESTS : 1); i += 1) await send(odd);
    const after = await reservation(world, send, tenant);
    expect(after / before, `${before} tokens before, ${after} after`).toBeGreaterThan(1 - most);
    expect(after / before, `${before} tokens before, ${after} after`).toBeLessThan(1 + most);
    return [];
  },
  expect: {},
});

export const SERIOUS_5: Group = {
  name: 'serious 5: predictor',
  vectors: [
    // What others take is a prior: one odd request beside six does not double it.
    ...ODD.slice(0, 2).map(([name, odd]) => poison('newcomer', 1, name, odd)),
    ...ODD.map(([name, odd]) => poison('watched', TOLERANCE, name, odd)),
  ],
};
