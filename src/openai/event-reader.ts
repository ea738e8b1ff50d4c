/** Reads the parsed events of a stream: content, finish, errors, usage. */
import type { EngineRoute } from '../domain/routes.ts';
import { type Fields, isObject, type Usage, usageOf } from './usage.ts';

export interface EventReader {
  readonly read: (event: unknown) => { readonly content: boolean; readonly usageOnly: boolean };
  /** A choice has ended: only usage and the end of the stream may follow for it. */
  readonly finishSeen: () => boolean;
  readonly finished: () => boolean;
  readonly errorFrame: () => boolean;
  /** @param tokenEvents content events so far. */
  readonly usage: (tokenEvents: number) => Usage | undefined;
  /** The usage is that of the beginning: what came after is not in it. */
  readonly isUsageEarly: () => boolean;
}

const NOTHING = { content: false, usageOnly: false };
const CONTENT = { content: true, usageOnly: false };
const USAGE_ONLY = { content: false, usageOnly: true };

/** Choices of one request whose usage is kept apart; more come only from an engine that makes up indexes. */
const MAX_CHOICES = 4096;

export const isTypedRoute = (route: EngineRoute): boolean => route === 'responses' || route === 'messages';

export function createEventReader(route: EngineRoute): EventReader {
  return isTypedRoute(route) ? createTypedReader() : createChoicesReader();
}

/** Chat and completions. */
function createChoicesReader(): EventReader {
  const finishedChoices = new Set<number>();
  /** The latest usage of each choice: with several choices each chunk carries only its own choice's count (vLLM). */
  const perChoice = new Map<number, Usage>();
  /** Usage of events without choices: the total. llama.cpp sends one for each choice instead. */
  let total: Usage | undefined;
  let totals = 0;
  let sum: Usage | undefined;
  let errorFrame = false;

  return {
    read(event) {
      if (!isObject(event)) return NOTHING;
      const failed = isErrorEvent(event);
      if (failed) errorFrame = true;
      const { choices } = event;
      if (!Array.isArray(choices)) return NOTHING;

      let content = false;
      for (const choice of choices as readonly unknown[]) {
        if (!isObject(choice)) continue;
        const { text, delta, finish_reason: reason } = choice;
        if (hasContent(text) || (isObject(delta) && deltaHasContent(delta))) content = true;
        if (typeof reason === 'string' && reason !== '' && finishedChoices.size < MAX_CHOICES) {
          finishedChoices.add(indexOf(choice));
        }
      }

      const usage = usageOf(event);
      if (usage !== undefined) {
        if (choices.length === 0) {
          total = usage;
          totals++;
          sum = sum === undefined ? usage : together(sum, usage);
        } else {
          const first: unknown = choices[0];
          const index = isObject(first) ? indexOf(first) : 0;
          if (perChoice.has(index) || perChoice.size < MAX_CHOICES) perChoice.set(index, usage);
        }
      }
      if (content) return CONTENT;
      return choices.length === 0 && !failed && isObject(event['usage']) ? USAGE_ONLY : NOTHING;
    },
    finishSeen: () => finishedChoices.size > 0,
    finished: () => false,
    errorFrame: () => errorFrame,
    isUsageEarly: () => false,
    usage(tokenEvents) {
      const several = finishedChoices.size > 1;
      let usage = several && totals === finishedChoices.size ? sum : total;
      if (usage === undefined)
        for (const one of perChoice.values()) usage = usage === undefined ? one : together(usage, one);
      // One engine reports a single choice's tokens for all of them. An event carries at least one token.
      return usage !== undefined && several && usage.completionTokens < tokenEvents
        ? { ...usage, completionTokens: tokenEvents }
        : usage;
    },
  };
}

/** Responses and Anthropic messages: each event has a `type`. */
function createTypedReader(): EventReader {
  let usage: Usage | undefined;
  let isEarly = true;
  let finished = false;
  let errorFrame = false;

  return {
    read(event) {
      if (!isObject(event)) return NOTHING;
      if (isErrorEvent(event)) errorFrame = true;
      const { type, delta } = event;
      const reported = usageOf(event);
      // Anthropic splits it: message_start has the prompt, message_delta the output so far.
      if (reported !== undefined) {
        usage = usage === undefined ? reported : latest(usage, reported);
        if (type !== 'message_start') isEarly = false;
      }
      switch (type) {
        case 'response.completed':
        case 'response.incomplete':
        case 'message_stop':
          finished = true;
          return NOTHING;
        case 'response.failed':
          errorFrame = true;
          return NOTHING;
        case 'content_block_delta':
          return isObject(delta) && deltaHasContent(delta) ? CONTENT : NOTHING;
        default:
          return typeof type === 'string' && type.endsWith('.delta') && hasContent(delta) ? CONTENT : NOTHING;
      }
    },
    finishSeen: () => finished,
    finished: () => finished,
    errorFrame: () => errorFrame,
    usage: () => usage,
    isUsageEarly: () => isEarly,
  };
}

/** OpenAI's and TGI's `error`, SGLang's flat `object: "error"`, Anthropic's and Responses' `type: "error"`. */
function isErrorEvent(event: Fields): boolean {
  return (event['error'] ?? null) !== null || event['object'] === 'error' || event['type'] === 'error';
}

function indexOf(choice: Fields): number {
  const { index } = choice;
  return typeof index === 'number' ? index : 0;
}

function hasContent(value: unknown): boolean {
  if (typeof value === 'string' || Array.isArray(value)) return value.length > 0;
  return isObject(value);
}

/** Text, reasoning, tool calls, a refusal: engines name them differently, so any field that is filled counts. */
function deltaHasContent(delta: Fields): boolean {
  for (const key of Object.keys(delta)) {
    if (key !== 'role' && key !== 'type' && hasContent(delta[key])) return true;
  }
  return false;
}

/** Usage of two choices of one prompt. */
function together(one: Usage, other: Usage): Usage {
  return { ...latest(one, other), completionTokens: one.completionTokens + other.completionTokens };
}

function latest(before: Usage, now: Usage): Usage {
  return {
    promptTokens: Math.max(before.promptTokens, now.promptTokens),
    completionTokens: Math.max(before.completionTokens, now.completionTokens),
    cachedTokens: Math.max(before.cachedTokens, now.cachedTokens),
  };
}
