/** `webhooks`: URLs that may be asked, and keys that are long enough to sign with. */
import { isLoopback } from '../../domain/loopback.ts';
import type { Config } from '../config.ts';
import { type Looked, lookUpKey, SECRET_REFERENCE, type Sources } from '../secrets.ts';
import { WEBHOOK_TOPICS, type WebhookConfig, type WebhookTopic } from '../webhooks.ts';
import { at, isMapping } from '../written-data.ts';
import type { Check } from './check.ts';
import { httpUrlOf } from './receiver-url.ts';

/** What stands in an entry of `webhooks`, looked up. */
export interface FoundWebhook {
  readonly index: number;
  readonly written: unknown;
  readonly url: Looked | undefined;
  readonly secret: Looked | undefined;
}

export function findWebhooks(root: unknown, sources: Sources): readonly FoundWebhook[] {
  const hooks = at(root, 'webhooks');
  if (!Array.isArray(hooks)) return [];
  return hooks.map((written: unknown, index): FoundWebhook => {
    const of = (key: string): Looked | undefined => {
      const text = at(written, key);
      return typeof text === 'string' ? lookUpKey(text, sources) : undefined;
    };
    return { index, written, url: of('url'), secret: of('secret') };
  });
}

/** For hiding: what was written, and what it stands for. A URL that stands in the file is no secret, but its query may be. */
export const webhookSecretTexts = (
  hooks: readonly FoundWebhook[],
): readonly { readonly text: string; readonly looked: Looked }[] =>
  hooks.flatMap(({ written, url, secret }) =>
    (
      [
        ['url', url],
        ['secret', secret],
      ] as const
    ).flatMap(([key, looked]) => {
      const text = at(written, key);
      return typeof text === 'string' && looked !== undefined ? [{ text, looked }] : [];
    }),
  );

const SECRET = /^whsec_[A-Za-z0-9+/]+={0,2}$/;
const PREFIX = 'whsec_';
const LEAST_BYTES = 24;
const MOST_BYTES = 64;

/** The key's base64; undefined: it is no key. */
function keyOf(text: string): string | undefined {
  if (!SECRET.test(text)) return undefined;
  const encoded = text.slice(PREFIX.length);
  const { length } = Buffer.from(encoded, 'base64');
  return length >= LEAST_BYTES && length <= MOST_BYTES ? encoded : undefined;
}

/** What is wrong with a URL; undefined: nothing. It never repeats the text, which may have a secret in it. */
function problemOfUrl(text: string, isInsecure: boolean): string | undefined {
  const url = httpUrlOf(text);
  if (url === undefined) return 'must be an https:// URL, for example https://hooks.example.com/fairlane';
  if (url.username !== '' || url.password !== '') {
    return 'must not carry credentials; who sends is told by the signature';
  }
  if (url.hash !== '') return 'must not have a fragment, which nobody gets';
  if (url.port === '0') return 'has port 0; give the port that the receiver listens on';
  if (url.protocol === 'https:' || isInsecure || isLoopback(url.hostname)) return undefined;
  return 'is http:// to another machine: anybody on the way would read the events; write https://, or insecure: true';
}

const isInsecure = (written: unknown): boolean => at(written, 'insecure') === true;

export function checkWebhooks(hooks: readonly FoundWebhook[], { report }: Check): void {
  for (const { index, written, url, secret } of hooks) {
    if (!isMapping(written)) continue;
    const path = ['webhooks', index];
    if (url?.kind === 'bad') report.problem([...path, 'url'], url.problem);
    const problem = url?.kind === 'ok' ? problemOfUrl(url.value, isInsecure(written)) : undefined;
    if (problem !== undefined) report.problem([...path, 'url'], problem);
    if (secret?.kind === 'bad') report.problem([...path, 'secret'], secret.problem);
    else if (secret?.kind === 'ok' && keyOf(secret.value) === undefined) {
      report.problem(
        [...path, 'secret'],
        `must be whsec_ and ${LEAST_BYTES} to ${MOST_BYTES} bytes in base64: echo "whsec_$(openssl rand -base64 32)"`,
      );
    } else if (secret?.kind === 'ok' && !SECRET_REFERENCE.test(String(at(written, 'secret')))) {
      report.warning([...path, 'secret'], 'is a secret in this file; keep it in env:NAME or file:PATH');
    }
  }
}

/** Of those that could be looked up. */
export function webhooksOf(hooks: readonly FoundWebhook[]): Pick<Config, 'webhooks'> {
  const webhooks = hooks.flatMap(({ written, url, secret }): readonly WebhookConfig[] => {
    if (url?.kind !== 'ok' || secret?.kind !== 'ok') return [];
    const { href, host } = new URL(url.value);
    const topics: unknown = at(written, 'events') ?? ['budget'];
    const events = new Set<WebhookTopic>(
      WEBHOOK_TOPICS.filter((topic) => Array.isArray(topics) && topics.includes(topic)),
    );
    return [{ url: href, host, secret: keyOf(secret.value) ?? '', events }];
  });
  return webhooks.length === 0 ? {} : { webhooks };
}
