/** A client's request as the service understands it, whatever its body is. */
import type { ApiError } from '../domain/api-error.ts';
import type { Mutable } from '../domain/mutable.ts';
import type { EngineRoute } from '../domain/routes.ts';
import { invalidRequest, quoted } from './error-body.ts';
import type { Forbidden } from './forbidden.ts';
import type { FormDocument, FormPart } from './form/scan.ts';
import type { JsonDocument } from './json/document.ts';
import type { LeftOutTools } from './tools.ts';

/** What is known of a request once its body is not needed any more. */
export interface RequestFacts {
  readonly route: EngineRoute;
  readonly model: string;
  readonly stream: boolean;
  /** UTF-8 bytes of what becomes the prompt, without JSON scaffolding; media and token ids by an equivalent. */
  readonly promptBytes: number;
  /** There are media in the prompt: its tokens say nothing of text. */
  readonly hasMedia: boolean;
  /** The client's cap for one output; undefined: none. 0 for embeddings. */
  readonly maxOutputTokens: number | undefined;
  /** Outputs that the engine works on: choices times prompts. */
  readonly outputs: number;
  /** The client expects usage in the stream: it asked for it, or the API always sends it. */
  readonly wantsUsage: boolean;
  /** Forbidden fields and tools that were left out, by path. Names as the client wrote them: not for metric labels. */
  readonly dropped: readonly string[];
  /** The engine may store the answer under its id. */
  readonly isStored?: true;
  /** Whom it is for; absent: nobody in particular, or requests are not attributed by their bodies. */
  readonly tag?: string;
  /** Texts that are computed each with another one; absent: it has none. */
  readonly pairs?: number;
  /** Tokens of a conversation that the engine has stored, and that this request goes on with; absent: none. */
  readonly heldTokens?: number;
}

export interface ParsedRequest extends RequestFacts {
  /** Without a cap: whole numbers below one that stand in its place, whose meaning is the engine's. */
  readonly belowOne: readonly number[] | undefined;
  /** Where the forbidden fields are. */
  readonly forbidden: Forbidden['keys'];
  /** Absent: it has all its tools. */
  readonly leftOut?: LeftOutTools;
  /** As it came; empty where the body is no JSON. */
  readonly document: JsonDocument;
  /** Of a body that is a form. */
  readonly form?: {
    readonly document: FormDocument;
    /** Parts that are left out. */
    readonly dropped: readonly FormPart[];
    /** Absent: the route says whose requests they are. */
    readonly model: FormPart | undefined;
  };
  /** There is no body. */
  readonly isBodyless?: true;
  /** Its route says which model it is for, and its body does not. */
  readonly isModelUnwritten?: true;
  /** Id of the stored response that it goes on with, as far as one may be long. */
  readonly previousResponse?: string;
}

/** The facts alone, without what would keep the body. @param model that serves it. */
export function factsOf(request: ParsedRequest, model: string): RequestFacts {
  const facts: Mutable<RequestFacts> = {
    route: request.route,
    model,
    stream: request.stream,
    promptBytes: request.promptBytes,
    hasMedia: request.hasMedia,
    maxOutputTokens: request.maxOutputTokens,
    outputs: request.outputs,
    wantsUsage: request.wantsUsage,
    dropped: request.dropped,
  };
  if (request.isStored === true) facts.isStored = true;
  if (request.tag !== undefined) facts.tag = request.tag;
  if (request.pairs !== undefined) facts.pairs = request.pairs;
  if (request.heldTokens !== undefined) facts.heldTokens = request.heldTokens;
  return facts;
}

export type RequestResult =
  | { readonly kind: 'ok'; readonly request: ParsedRequest }
  | { readonly kind: 'bad'; readonly error: ApiError };

export interface RequestChanges {
  /** What the engine is asked for; absent: what the client wrote. */
  readonly model?: string;
  /** The cap to enforce, ≥ 1; a lower one of the client's stays. */
  readonly maxOutputTokens?: number;
  /** Have the engine report usage at the end of a stream. */
  readonly includeUsage: boolean;
  /** Keeps the engine's prefix cache apart. */
  readonly cacheSalt?: string;
  /** `priority` is set later, with withPriority(): whatever the client wrote goes. */
  readonly priorityFollows?: boolean;
}

/** A body that names another model than its route has. */
export const otherModelThanRoute = (model: string): ApiError =>
  invalidRequest(`This route is for the model \`${quoted(model)}\`. Name that one, or none.`, 'model');
