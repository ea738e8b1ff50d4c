/** A request as an engine of its pool gets it: what the service changes in it, and what its endpoint is chosen by. */
import type { TenantConfig } from '../config/config.ts';
import type { Mutable } from '../domain/mutable.ts';
import type { EngineRoute } from '../domain/routes.ts';
import { type EngineCapabilities, NO_CAPABILITIES } from '../engine/capabilities.ts';
import { NAME } from '../openai/names.ts';
import type { ParsedRequest, RequestChanges } from '../openai/parsed-request.ts';
import { changedBody, serialiseRequest, withPriority } from '../openai/request.ts';
import type { ChoiceRequest } from '../routing/candidate.ts';
import { type RequestTrace, sentHeaders } from '../usage/request-trace.ts';
import { cacheSaltOf, cacheScopeOf } from './cache-salt.ts';
import type { RequestHead, SendOn } from './edge.ts';
import type { LifecycleContext } from './lifecycle-context.ts';
import type { SelectedModel } from './model-selection.ts';
import { type Prediction, totalTokens } from './prediction.ts';
import { lastHop, type SlowReaders } from './slow-readers.ts';

/** Routes on which engines take `priority` and `cache_salt`; on others one may refuse what it does not know. */
const ROUTES_WITH_HINTS: ReadonlySet<EngineRoute> = new Set(['chat.completions', 'completions']);
/** Longer is no name of a session. */
const MAX_SESSION_ID = 512;

/** All that is known of a request when its model has been selected. */
export interface Selected {
  /** Its `model` is what the client asked for. */
  readonly parsed: ParsedRequest;
  readonly tenant: TenantConfig;
  readonly head: RequestHead;
  readonly selected: SelectedModel;
  /** The model's adapter, where it is one. */
  readonly adapter: string | undefined;
  readonly prediction: Prediction;
  /** What stands in place of a cap is the engine's to judge: none of ours is written over it. */
  readonly leavesCap: boolean;
}

/** The text to send. */
export interface EngineBody {
  /** In parts; undefined: as the client sent it, and the proxy still has it. */
  readonly parts: readonly Buffer[] | undefined;
  /** It has to get one of these priorities when it is sent. */
  readonly priority: EngineCapabilities['priority'];
}

const NO_BODY: EngineBody = { parts: undefined, priority: undefined };

/** @param proxyKeepsIt the proxy can send the client's own body: it need not be kept here where nothing is changed. */
export function engineBodyOf(
  context: LifecycleContext,
  { parsed, tenant, selected: { model, pool, unlisted }, prediction, leavesCap }: Selected,
  proxyKeepsIt: boolean,
): EngineBody {
  if (parsed.isBodyless === true) return NO_BODY;
  const adapter = context.catalog.adapterOf(model);
  const sentModel =
    adapter === undefined ? (unlisted ?? model) : (context.adapterName?.(pool, adapter) ?? adapter.name);
  const hints = ROUTES_WITH_HINTS.has(parsed.route) ? context.capabilitiesOf(pool) : NO_CAPABILITIES;
  const { cap } = prediction;
  const isCapOurs =
    !leavesCap &&
    tenant.limits.maxContext !== undefined &&
    parsed.maxOutputTokens === undefined &&
    (cap ?? 0) > 0;
  const changes: Mutable<RequestChanges> = {
    priorityFollows: hints.priority !== undefined,
    includeUsage: true,
  };
  if (sentModel !== parsed.model) changes.model = sentModel;
  if (hints.cacheSalt) changes.cacheSalt = cacheSaltOf(tenant);
  if (isCapOurs && cap !== undefined) changes.maxOutputTokens = cap;
  const parts = proxyKeepsIt ? changedBody(parsed, changes) : serialiseRequest(parsed, changes);
  return { parts, priority: hints.priority };
}

/** The body as it is sent at last: how urgent it is depends on who waits when it goes. */
export function prioritised(
  { parts, priority }: EngineBody,
  belowFairShare: boolean,
): readonly Buffer[] | undefined {
  if (parts === undefined || priority === undefined) return parts;
  return withPriority(parts, belowFairShare ? priority.belowFairShare : priority.other);
}

/** @param mirrorTo the pool that gets a copy; undefined: none does. */
export function sendOnOf(
  body: SendOn['body'],
  { pool, addresses }: Pick<SendOn, 'pool' | 'addresses'>,
  mirrorTo: string | undefined,
  trace: RequestTrace | undefined,
): SendOn {
  const sent: Mutable<SendOn> = { body, pool, addresses };
  if (mirrorTo !== undefined) sent.mirrorTo = mirrorTo;
  if (trace !== undefined) sent.trace = sentHeaders(trace);
  return sent;
}

/** Who reads the answer, where that matters. */
export interface ReadingClient {
  readonly readers: SlowReaders;
  /** Empty: not known. */
  readonly address: string;
}

export interface EndpointChoice {
  /** What the endpoint is chosen by, beyond room; undefined: by load alone. */
  readonly choice: ChoiceRequest | undefined;
  readonly client: ReadingClient | undefined;
}

const BY_LOAD: EndpointChoice = { choice: undefined, client: undefined };

/** Names the session where no header does. */
function promptCacheKeyOf({ document }: ParsedRequest): string | undefined {
  const key = document.get(0, NAME.prompt_cache_key);
  return document.isString(key) && document.more(key) <= 4 * MAX_SESSION_ID ? document.text(key) : undefined;
}

export function endpointChoiceOf(
  context: LifecycleContext,
  { parsed, tenant, head, selected, adapter, prediction }: Selected,
  nowMs: number,
): EndpointChoice {
  const { model, pool } = selected;
  const inputs = context.routingInputsOf?.(pool);
  if (inputs === undefined) return BY_LOAD;
  const { sessionHeader, readers, zone } = inputs;
  const session = head.header(sessionHeader) || promptCacheKeyOf(parsed);
  const client = readers && { readers, address: lastHop(head.header('x-forwarded-for')) };
  const prompt = context.hashPrompt?.(pool, {
    route: parsed.route,
    document: parsed.document,
    scope: cacheScopeOf(tenant),
    model,
    ...(session !== undefined && session.length <= MAX_SESSION_ID && { sessionId: session }),
  });
  const { within } = head;
  return {
    choice: {
      ...(adapter !== undefined && { adapter }),
      prompt,
      promptBytes: parsed.promptBytes,
      promptTokens: prediction.promptTokens,
      totalTokens: totalTokens(prediction, parsed.outputs),
      stream: parsed.stream,
      slow: client?.readers.isSlow(tenant.name, client.address, nowMs) === true,
      ...(zone !== undefined && { zone }),
      ...(within !== undefined && { subset: within }),
    },
    client,
  };
}
