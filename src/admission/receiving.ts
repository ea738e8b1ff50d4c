/**
 * The phase between a request's headers and its parsed body.
 *
 *   rate-check → awaiting-room → uploading → decoding → reading → finding-owner → received
 *
 * Each may be passed in no time: the request bucket is known here, there is room for the body, it is not encoded, it is
 * small, it goes on with nothing. What is refused here has taken nothing but a request of the bucket, and room for its
 * body.
 */
import type { Config } from '../config/config.ts';
import { uploadMs } from '../config/memory-bound.ts';
import type { FoundOwner } from '../conversation/shared-owners.ts';
import type { ApiError } from '../domain/api-error.ts';
import type { CustomRouteName, FoundRoute, RouteName } from '../domain/routes.ts';
import { textOf } from '../domain/text-of.ts';
import { bodyTooLarge, previousResponseNotFound, queueFull, unsizedTooLarge } from '../openai/error-body.ts';
import { type FormReading, FormScan } from '../openai/form/scan.ts';
import { boundaryOf } from '../openai/form/type.ts';
import { understandForm } from '../openai/form-request.ts';
import { type Reading, readJson } from '../openai/json/reader.ts';
import { namedUser } from '../openai/named-user.ts';
import type { ParsedRequest, RequestResult } from '../openai/parsed-request.ts';
import { namesOf } from '../openai/policy-names.ts';
import { bodyless, understand, understandCustom } from '../openai/request.ts';
import { LOOKED_AT_BYTES, tagOf } from '../usage/tags.ts';
import type { BodyReading } from './body-queue.ts';
import { type Coding, codingOf, mostDecoded, mostHeld } from './content-coding.ts';
import type { RequestHead } from './edge.ts';
import { refusalOfHead } from './head-checks.ts';
import { type Holding, type HoldingOwner, holdingLimitsOf } from './holdings.ts';
import type { LifecycleContext, RequestTenant } from './lifecycle-context.ts';
import { pinnedTo, refusalOfOwner } from './owned.ts';
import {
  brokenCoding,
  decodedTooLarge,
  growsTooMuch,
  holdingRefusal,
  internalError,
  uploadTooSlow,
} from './refusals.ts';

/** Whose body it is. */
export interface ReceivingOwner {
  /** It has an account now, which has to be closed: the exchange is open, and its body may be held. */
  holds(holding: Holding): void;
  /** Nothing may come for so long. */
  waitsForRoom(forMs: number): void;
  /** The body may come. */
  mayUpload(): void;
  /** It takes longer than the queue may, by so much. */
  takesLonger(moreMs: number): void;
  received(receiving: Receiving, request: ParsedRequest, nowMs: number): void;
  refuse(error: ApiError, nowMs: number): void;
}

/** Envoy waits for five seconds: so long a request waits for room for its body. */
const ROOM_MS = 3_000;
/** A fault of ours: nothing is known of the body. */
const UNREADABLE_FORM: FormReading = {
  kind: 'bad',
  message: 'The request body could not be read. Please try again.',
};
/** A large body may wait so long for its turn to be read. */
const READING_MS = 30_000;

export type RequestTaken = Awaited<ReturnType<RequestTenant['limits']['takeRequest']>>;
const TAKEN: RequestTaken = { kind: 'taken' };

/** With whom its body says that it is for. */
function withTag(parsed: RequestResult): RequestResult {
  if (parsed.kind === 'bad') return parsed;
  const { route, document } = parsed.request;
  const tag = tagOf(namedUser(route, document, LOOKED_AT_BYTES) ?? '');
  return tag === undefined ? parsed : { kind: 'ok', request: { ...parsed.request, tag } };
}

/** From the request bucket, where the route counts at all. */
export const takeRequest = (
  { custom }: FoundRoute,
  { limits }: RequestTenant,
  nowMs: number,
): RequestTaken | Promise<RequestTaken> => (custom?.metered === 'none' ? TAKEN : limits.takeRequest(nowMs));

export class Receiving implements HoldingOwner {
  private readonly context: LifecycleContext;
  private readonly owner: ReceivingOwner;
  private readonly tenant: RequestTenant;
  private readonly route: FoundRoute;
  /** With what it was found to go on with. */
  head: RequestHead;
  private state:
    | 'rate-check'
    | 'awaiting-room'
    | 'uploading'
    | 'decoding'
    | 'reading'
    | 'finding-owner'
    | 'over' = 'rate-check';
  /** Of the body, as its headers say. */
  private coding: Coding | 'identity' = 'identity';

  // rate-check, awaiting-room: a gateway sends a body without waiting for the answer to the headers
  private earlyBody: Uint8Array | undefined = undefined;

  // awaiting-room, uploading, decoding, reading
  private holding: Holding | undefined = undefined;
  /** Until when there must be room, or the body must be there. */
  private untilMs = 0;

  // decoding, reading
  private bodyReading: BodyReading | undefined = undefined;

  /** Bytes of the body, once it is there: decoded. */
  bodyBytes = 0;

  constructor(
    context: LifecycleContext,
    owner: ReceivingOwner,
    tenant: RequestTenant,
    route: FoundRoute,
    head: RequestHead,
  ) {
    this.context = context;
    this.owner = owner;
    this.tenant = tenant;
    this.route = route;
    this.head = head;
  }

  /** The request bucket has let it pass. @param arrivedMs when the headers came. */
  begin(arrivedMs: number, nowMs: number): void {
    if (this.state !== 'rate-check') return;
    const holding = this.take(nowMs);
    if (!('wanted' in holding)) {
      this.owner.refuse(holding, nowMs);
      return;
    }
    this.holding = holding;
    this.owner.holds(holding);
    if (this.route.body === 'none') {
      this.state = 'over';
      this.owner.received(this, bodyless(this.route.name as CustomRouteName, this.ownModel()), nowMs);
      return;
    }
    if (holding.hasRoom()) {
      this.upload(nowMs);
      return;
    }
    // Its headers wait. Envoy reads the body on meanwhile, and keeps it.
    this.state = 'awaiting-room';
    this.untilMs = arrivedMs + ROOM_MS;
    this.owner.waitsForRoom(ROOM_MS);
    holding.whenRoom(this);
  }

  private take(nowMs: number): Holding | ApiError {
    const { head } = this;
    const { dispatcher, holdings } = this.context;
    const config = this.context.config();
    const { name, limits } = this.tenant.config;
    const { maxBodyBytes, maxUnsizedBodyBytes } = config.envoy;
    const coding = codingOf(head.header('content-encoding'));
    const isTaken = coding === 'identity' || this.context.decoder !== undefined;
    const refusal = refusalOfHead(this.route.body, head, isTaken ? coding : undefined, maxBodyBytes);
    if (refusal !== undefined) return refusal;
    this.coding = coding ?? 'identity';
    if (dispatcher.isFullFor(name, nowMs)) return queueFull('tenant', dispatcher.retryAfterMs());
    const limitsOfHolding = holdingLimitsOf(limits, config);
    const bytes = this.route.body === 'none' ? 0 : (head.contentLength ?? maxUnsizedBodyBytes);
    // What it may become beside what came; one that alone may be too much has all the room there is.
    const most =
      this.coding === 'identity'
        ? bytes
        : Math.max(bytes, Math.min(mostHeld(bytes, maxBodyBytes), limitsOfHolding.maxHeldBytes));
    const held = holdings.take(name, most, limitsOfHolding, bytes);
    return typeof held === 'string' ? holdingRefusal(held, dispatcher.retryAfterMs()) : held;
  }

  /** By the holding: others have left room for the body. */
  roomGranted(): void {
    if (this.state === 'awaiting-room') this.upload(this.context.now());
  }

  private upload(nowMs: number): void {
    const { envoy } = this.context.config();
    this.untilMs = nowMs + uploadMs(envoy, this.head.contentLength ?? envoy.maxUnsizedBodyBytes);
    this.state = 'uploading';
    this.owner.mayUpload();
    const body = this.earlyBody;
    this.earlyBody = undefined;
    if (body !== undefined) this.body(body, nowMs);
  }

  /** The whole body. */
  body(bytes: Uint8Array, nowMs: number): void {
    switch (this.state) {
      case 'rate-check':
      case 'awaiting-room':
        this.earlyBody = bytes;
        break;
      case 'uploading':
        this.arrived(bytes, nowMs);
        break;
      case 'decoding':
      case 'reading':
      case 'finding-owner':
      case 'over':
    }
  }

  private arrived(bytes: Uint8Array, nowMs: number): void {
    const config = this.context.config();
    const { maxBodyBytes, maxUnsizedBodyBytes } = config.envoy;
    if (bytes.length > maxBodyBytes) this.owner.refuse(bodyTooLarge(maxBodyBytes), nowMs);
    else if (this.head.contentLength === undefined && bytes.length > maxUnsizedBodyBytes) {
      this.owner.refuse(unsizedTooLarge(maxUnsizedBodyBytes, maxBodyBytes), nowMs);
    } else if (this.coding === 'identity') this.plain(bytes, config, nowMs);
    else this.decode(this.coding, bytes, maxBodyBytes);
  }

  private decode(coding: Coding, bytes: Uint8Array, maxBodyBytes: number): void {
    const { context, tenant, owner } = this;
    this.state = 'decoding';
    this.holding?.arrived(mostHeld(bytes.length, maxBodyBytes));
    owner.takesLonger(READING_MS);
    const most = mostDecoded(bytes.length, maxBodyBytes);
    this.bodyReading = context.decoder?.decode(tenant.config.name, coding, { bytes, most }, (result, at) => {
      if (this.state !== 'decoding') return;
      switch (result.kind) {
        case 'ok':
          this.unlessBroken(at, () => this.plain(result.bytes, context.config(), at));
          break;
        case 'too-large':
          owner.refuse(most < maxBodyBytes ? growsTooMuch() : decodedTooLarge(maxBodyBytes), at);
          break;
        case 'broken':
          owner.refuse(brokenCoding(coding), at);
      }
    });
  }

  /** @param bytes as engines get them. */
  private plain(bytes: Uint8Array, config: Config, nowMs: number): void {
    const { context, tenant } = this;
    this.bodyBytes = bytes.length;
    this.holding?.arrived(bytes.length);
    if (this.route.body === 'multipart') {
      this.readForm(bytes, config);
      return;
    }
    const names = namesOf(config.fields);
    const { bodies } = context;
    const json = bodies === undefined ? readJson(bytes, names) : bodies.atOnce(bytes, names);
    if (json !== undefined) {
      this.read(json, config, nowMs);
      return;
    }
    this.state = 'reading';
    this.owner.takesLonger(READING_MS);
    this.bodyReading = bodies?.read(tenant.config.name, bytes, names, (reading, at) =>
      this.readLater(reading, config, at),
    );
  }

  /** In the turns in which large bodies are read: most of a form is a file. */
  private readForm(bytes: Uint8Array, config: Config): void {
    const { context, tenant, owner } = this;
    const scan = new FormScan(bytes, boundaryOf(this.head.header('content-type')) ?? '');
    const read = (form: FormReading, at: number): void => {
      if (this.state !== 'reading') return;
      this.unlessBroken(at, () => this.understood(understandForm(this.route, form, config), at));
    };
    this.state = 'reading';
    const first = scan.step();
    if (first !== undefined) read(first, context.now());
    else if (context.bodies === undefined) read(scan.rest(), context.now());
    else {
      owner.takesLonger(READING_MS);
      this.bodyReading = context.bodies.run(tenant.config.name, scan, UNREADABLE_FORM, read);
    }
  }

  private readLater(json: Reading, config: Config, nowMs: number): void {
    if (this.state === 'reading') this.unlessBroken(nowMs, () => this.read(json, config, nowMs));
  }

  private unlessBroken(nowMs: number, act: () => void): void {
    try {
      act();
    } catch (error) {
      // Unanswered, Envoy would send it on unread.
      this.owner.refuse(internalError(), nowMs);
      throw error;
    }
  }

  /** It takes requests of buckets. */
  isCounted(): boolean {
    return this.route.custom?.metered !== 'none';
  }

  /** Of a route without a body; the configuration was checked. */
  private ownModel(): string {
    return this.route.custom?.model ?? '';
  }

  /** The proxy's body is the one that engines get, unless something is changed. */
  isAsSent(): boolean {
    return this.coding === 'identity' && this.head.contentLength !== undefined;
  }

  /** @param config that the body was read with. */
  private read(json: Reading, config: Config, nowMs: number): void {
    const { name, custom } = this.route;
    const parsed =
      custom === undefined
        ? understand(name as RouteName, json, config)
        : understandCustom(name as CustomRouteName, custom.model, json, config);
    this.understood(config.attribution?.by === 'user' ? withTag(parsed) : parsed, nowMs);
  }

  private understood(parsed: RequestResult, nowMs: number): void {
    this.state = 'over';
    this.bodyReading = undefined;
    if (parsed.kind === 'bad') this.owner.refuse(parsed.error, nowMs);
    else if (parsed.request.previousResponse === undefined) this.owner.received(this, parsed.request, nowMs);
    else this.findOwner(parsed.request, parsed.request.previousResponse, nowMs);
  }

  /** Of the stored response that it goes on with: other replicas may have to be asked. */
  private findOwner(request: ParsedRequest, id: string, nowMs: number): void {
    const { context, tenant } = this;
    const found = context.owners?.find(tenant.config.name, id, nowMs);
    if (!(found instanceof Promise)) {
      this.ownerFound(request, id, found, nowMs);
      return;
    }
    this.state = 'finding-owner';
    found
      .then((late) => {
        if (this.state !== 'finding-owner') return;
        this.state = 'over';
        const at = context.now();
        this.unlessBroken(at, () => this.ownerFound(request, id, late, at));
      })
      .catch((error: unknown) => context.onBug(textOf(error)));
  }

  private ownerFound(request: ParsedRequest, id: string, found: FoundOwner, nowMs: number): void {
    const refusal = refusalOfOwner(this.context, found, id, previousResponseNotFound, this.tenant.config);
    if (refusal !== undefined) this.owner.refuse(refusal, nowMs);
    else if (typeof found === 'object') {
      this.head = pinnedTo(this.head, found);
      this.owner.received(this, { ...request, heldTokens: found.tokens }, nowMs);
    }
  }

  /** Time has passed: nobody may hold a place in memory for long without a body. */
  tick(nowMs: number): void {
    if (nowMs <= this.untilMs) return;
    if (this.state === 'uploading') this.owner.refuse(uploadTooSlow(), nowMs);
    else if (this.state === 'awaiting-room') {
      this.owner.refuse(holdingRefusal('too-many-bytes', this.context.dispatcher.retryAfterMs()), nowMs);
    }
  }

  /** The request has ended. */
  cancel(): void {
    this.state = 'over';
    this.bodyReading?.cancel();
    this.earlyBody = undefined;
  }
}
