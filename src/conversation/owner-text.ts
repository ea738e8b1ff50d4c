/** An owner as replicas tell each other of it. Pure. */
import type { ResponseOwner } from './response-owners.ts';

const LONGEST_TEXT = 4_096;
const LONGEST_WORD = 1_024;

/** All but the tokens, which change: texts of one owner are alike. */
export const ownerText = ({ tenant, pool, endpoint, model, asked }: ResponseOwner): string =>
  JSON.stringify([tenant, pool, endpoint, model, asked]);

const isWord = (value: unknown): value is string =>
  typeof value === 'string' && value !== '' && value.length <= LONGEST_WORD;

/** Undefined: it is nothing that ownerText() gives. */
export function ownerOfText(text: string, tokens: number): ResponseOwner | undefined {
  if (text.length > LONGEST_TEXT) return undefined;
  let values: unknown;
  try {
    values = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!Array.isArray(values) || values.length !== 5) return undefined;
  const [tenant, pool, endpoint, model, asked] = values as unknown[];
  if (!isWord(tenant) || !isWord(pool) || !isWord(endpoint) || !isWord(model) || !isWord(asked))
    return undefined;
  const known = Number.isSafeInteger(tokens) && tokens >= 0 ? tokens : 0;
  return { tenant, pool, endpoint, model, asked, tokens: known };
}
