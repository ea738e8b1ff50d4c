/** Prompts of a given length for real targets, the same for the same seed. */
import { createRandom, type Request, type TenantLoad } from './load.ts';

/** Of three letters each: with a blank four bytes, and one token for most tokenizers. */
const WORDS = (
  'the and for are but not you all any can had her was one our out day get has him his how man new now old see two way who ' +
  'boy did its let put say she too use dad mom car run cat dog sun red big sea sky top box cup eat far few hot ice job key law map net'
).split(' ');

const hashOf = (text: string): number => {
  let hash = 2_166_136_261;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 16_777_619);
  return hash >>> 0;
};
const wordsOf = (seed: string, count: number): readonly string[] => {
  const random = createRandom(hashOf(seed));
  return Array.from({ length: count }, () => WORDS[Math.floor(random() * WORDS.length)] ?? 'the');
};

/**
 * A prompt of about so many tokens: the tenant's prefix, and words of its own. They begin with the request's
 * number, so that no two requests of a run share more than the prefix; `run` differs between runs, so that no
 * run finds another's cache.
 */
export function promptOf({ id, promptTokens }: Request, tenant: TenantLoad, run: string, at: number): string {
  const shared = Math.min(tenant.sharedPrefix, promptTokens);
  const own = [...wordsOf(`${run}/${id}`, promptTokens - shared)];
  for (let i = 0, left = at; i < own.length && left > 0; i += 1, left = Math.floor(left / WORDS.length)) {
    own[i] = WORDS[left % WORDS.length] ?? 'the';
  }
  return [...wordsOf(`${run}/${tenant.name}`, shared), ...own].join(' ');
}
