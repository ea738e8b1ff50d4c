/** Calls of the rate limit service in the bytes that Envoy sends, with limits from a text and levels in any store. */
import type { CallSettings } from '../../src/config/rate-limit.ts';
import type { LimitStore } from '../../src/limit/store.ts';
import {
  type CallProblem,
  type CountedHit,
  decide,
  type RateLimitCall,
} from '../../src/rate-limit-service/decide.ts';
import {
  createRateLimitGrpcService,
  type RateLimitServiceOptions,
} from '../../src/rate-limit-service/grpc-rate-limit.ts';
import { loadLimits } from '../../src/rate-limit-service/limits-config.ts';
import { CALL_SETTINGS } from './call-settings.ts';
import { type Message, referenceCodec } from './reference-codec.ts';

const codec = referenceCodec(
  'envoy/service/ratelimit/v3/rls.proto',
  'envoy.service.ratelimit.v3.RateLimitService',
  'ShouldRateLimit',
);

export type Entries = readonly (readonly [key: string, value: string])[];

/** A descriptor on the wire, by its entries. */
export const descriptorOf = (entries: Entries, more: object = {}): object => ({
  entries: entries.map(([key, value]) => ({ key, value })),
  ...more,
});

/** What an answer says, in few words. */
interface Said {
  readonly code: string;
  readonly statuses: readonly string[];
  readonly headers: readonly string[];
  readonly requestHeaders: readonly string[];
  readonly metadata: unknown;
  readonly raw: Message;
}

/** A Struct as JSON has it. */
function plain(value: Message): unknown {
  switch (value.kind) {
    case 'structValue':
      return plainStruct(value.structValue);
    case 'listValue':
      return (value.listValue.values ?? []).map(plain);
    case 'nullValue':
      return null;
    default:
      return value[value.kind];
  }
}
const plainStruct = ({ fields }: Message): object =>
  Object.fromEntries(Object.entries(fields ?? {}).map(([key, value]) => [key, plain(value)]));

const statusOf = ({ code, current_limit: limit, limit_remaining: left }: Message): string =>
  limit === undefined || limit === null
    ? code
    : `${code} ${left ?? 0} of ${limit.requests_per_unit ?? 0}/${limit.unit}`;
const headersOf = (list: Message): readonly string[] =>
  (list ?? []).map(({ key, value }: Message) => `${key}: ${value}`);

export interface CallWorld {
  readonly options: RateLimitServiceOptions;
  readonly hits: CountedHit[];
  readonly problems: CallProblem[];
  /** @throws with the gRPC error's code and text. */
  readonly ask: (
    descriptors: readonly (Entries | object)[],
    more?: { domain?: string; hits?: number },
  ) => Promise<Said>;
}

/** @param now milliseconds of the store's clock. */
export function callWorld(
  files: string,
  store: LimitStore,
  settings: Partial<CallSettings> = {},
  unixMs: () => number = Date.now,
  now: () => number = () => 0,
): CallWorld {
  const loaded = loadLimits([{ name: 'limits.yaml', text: files }], false);
  if (loaded.kind === 'bad') throw new Error(loaded.problem);
  const { domains } = loaded;
  const hits: CountedHit[] = [];
  const problems: CallProblem[] = [];
  const context = {
    domains,
    store,
    settings: { ...CALL_SETTINGS, ...settings },
    onHit: (hit: CountedHit) => hits.push(hit),
    onProblem: (problem: CallProblem) => problems.push(problem),
    unixMs,
  };
  const options: RateLimitServiceOptions = {
    decide: (call: RateLimitCall) => decide(call, context, now()),
    onError: (detail) => {
      throw new Error(detail);
    },
  };
  const method = createRateLimitGrpcService(options).methods['ShouldRateLimit'];
  if (method?.kind !== 'unary') throw new Error('no unary method');
  return {
    options,
    hits,
    problems,
    async ask(descriptors, { domain = 'D', hits: hitsAddend = 0 } = {}) {
      const answer = await method.handle(
        codec.encodeRequest({
          domain,
          descriptors: descriptors.map((one) => (Array.isArray(one) ? descriptorOf(one as Entries) : one)),
          hits_addend: hitsAddend,
        }),
      );
      if (!Buffer.isBuffer(answer)) throw new Error(JSON.stringify(answer));
      const raw = codec.decodeResponse(answer);
      return {
        code: raw.overall_code,
        statuses: raw.statuses.map(statusOf),
        headers: headersOf(raw.response_headers_to_add),
        requestHeaders: headersOf(raw.request_headers_to_add),
        metadata: raw.dynamic_metadata ? plainStruct(raw.dynamic_metadata) : undefined,
        raw,
      };
    },
  };
}
