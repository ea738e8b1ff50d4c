/**
 * One request for the models that a tenant may use, or for one of them. The service answers it; no engine is asked.
 *
 *   new → checking → ended
 *
 * It is a request of its tenant's limits. It has no record. A model that the tenant may not use is an unknown one, word for word.
 */
import type { ApiError } from '../domain/api-error.ts';
import { modelsRouteOf } from '../domain/routes.ts';
import { textOf } from '../domain/text-of.ts';
import type { ListedModel } from '../engine/listed-models.ts';
import { invalidRequest, modelNotFound, rateLimited } from '../openai/error-body.ts';
import {
  anthropicModelList,
  type ModelInfo,
  modelList,
  modelPage,
  oneAnthropicModel,
  oneModel,
} from '../openai/models.ts';
import type { TenantLimits } from '../tenant/tenant-limits.ts';
import { errorResponse, rateLimitHeaders } from './answers.ts';
import type { Edge, RequestEvents, RequestHead, ResponseHead } from './edge.ts';
import type { LifecycleContext, RequestTenant } from './lifecycle-context.ts';
import { modelsUnknown } from './refusals.ts';
import { whoseRequest } from './tenant-of.ts';

type RequestTaken = Awaited<ReturnType<TenantLimits['takeRequest']>>;
type ModelsRoute = NonNullable<ReturnType<typeof modelsRouteOf>>;

export class ModelsLifecycle implements RequestEvents {
  private readonly context: LifecycleContext;
  private readonly edge: Edge;
  private readonly asked: ModelsRoute;
  /** Anthropic's clients send it always, others never. */
  private readonly isAnthropic: boolean;
  private state: 'new' | 'checking' | 'ended' = 'new';

  constructor(context: LifecycleContext, edge: Edge, asked: ModelsRoute, head: RequestHead) {
    this.context = context;
    this.edge = edge;
    this.asked = asked;
    this.isAnthropic = head.header('anthropic-version') !== '';
  }

  headers(head: RequestHead, nowMs: number): void {
    if (this.state !== 'new') return;
    this.state = 'checking';
    const { tenant, refusal } = whoseRequest(this.context, head, 'models', nowMs);
    if (refusal !== undefined) this.refuse(tenant, refusal, nowMs);
    else {
      const taken = tenant.limits.takeRequest(nowMs);
      if (!(taken instanceof Promise)) this.requestTaken(tenant, taken, nowMs);
      else {
        taken
          .then((late) => this.requestTaken(tenant, late, this.context.now()))
          .catch((error: unknown) => this.context.onBug(textOf(error)));
      }
    }
  }

  /** It has been answered, or will be: a body says nothing of models. */
  body(): void {}

  responseHeaders(_head: ResponseHead): void {
    this.edge.passResponseHeaders('none', []);
  }

  responseChunk(): void {
    this.edge.passChunk(undefined);
  }

  responseComplete(): void {}

  tick(): void {}

  streamEnded(): void {
    this.state = 'ended';
  }

  private requestTaken(tenant: RequestTenant, taken: RequestTaken, nowMs: number): void {
    if (this.state !== 'checking') return;
    if (taken.kind !== 'taken') {
      const { limit, retryAfterMs } = taken;
      this.refuse(tenant, rateLimited('requests', { limit, retryAfterMs }), nowMs);
      return;
    }
    const answer = this.asked.id === undefined ? this.list(tenant) : this.one(tenant, this.asked.id);
    if (typeof answer !== 'string') {
      this.refuse(tenant, answer, nowMs);
      return;
    }
    this.state = 'ended';
    this.edge.respond({
      status: 200,
      headers: [['content-type', 'application/json'], ...rateLimitHeaders(tenant.limits, nowMs)],
      body: answer,
      details: 'models',
    });
  }

  private list(tenant: RequestTenant): string | ApiError {
    const { catalog, startedS } = this.context;
    const models = catalog.modelsOf(tenant.config).map((name) => this.infoOf(tenant, name) ?? bare(name));
    if (!this.isAnthropic) return modelList(models, startedS);
    const page = modelPage(this.asked.query);
    if ('problem' in page)
      return invalidRequest(`The parameter \`${page.param}\` ${page.problem}.`, page.param);
    return anthropicModelList(models, page, startedS);
  }

  private one(tenant: RequestTenant, id: string): string | ApiError {
    const { catalog, startedS } = this.context;
    const model = this.infoOf(tenant, id);
    if (model === undefined) return catalog.isDiscovering() ? modelsUnknown() : modelNotFound(id);
    return this.isAnthropic ? oneAnthropicModel(model, startedS) : oneModel(model, startedS);
  }

  /** Undefined: it is none that the tenant may use. @param name also an alias. */
  private infoOf({ config }: RequestTenant, name: string): ModelInfo | undefined {
    const { catalog } = this.context;
    const choice = catalog.choose(config, name, () => undefined);
    if (choice.kind !== 'serve') return undefined;
    const said = this.saidOf(choice.model);
    const base = catalog.adapterOf(choice.model)?.base;
    const tokens = said?.maxTokens ?? (base === undefined ? undefined : this.saidOf(base)?.maxTokens);
    const mayKnow = (value: unknown): boolean =>
      typeof value !== 'string' ||
      catalog.poolOf(value) === undefined ||
      catalog.choose(config, value, () => undefined).kind === 'serve';
    return {
      id: name,
      maxTokens: tokens && Math.min(tokens, config.limits.maxContext ?? tokens),
      // `root` and `parent` name models: none that the tenant may not know.
      facts: Object.fromEntries(Object.entries(said?.facts ?? {}).filter(([, value]) => mayKnow(value))),
    };
  }

  private saidOf(model: string): ListedModel | undefined {
    const pool = this.context.catalog.poolOf(model);
    return pool === undefined ? undefined : this.context.listedModel?.(pool, model);
  }

  private refuse(tenant: RequestTenant | undefined, error: ApiError, nowMs: number): void {
    if (this.state === 'ended') return;
    this.state = 'ended';
    const headers = tenant === undefined ? [] : rateLimitHeaders(tenant.limits, nowMs);
    this.edge.respond(errorResponse(this.isAnthropic ? 'messages' : undefined, error, headers));
  }
}

const bare = (id: string): ModelInfo => ({ id, maxTokens: undefined, facts: {} });

/** Undefined: it asks for no models. */
export function modelsRequestOf(
  context: LifecycleContext,
  edge: Edge,
  head: RequestHead,
): ModelsLifecycle | undefined {
  const asked = modelsRouteOf(head.method, head.path);
  return asked && new ModelsLifecycle(context, edge, asked, head);
}
