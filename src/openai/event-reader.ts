/** Reads the parsed events of a stream: content, finish, errors, usage. */
import type { EngineRoute } from '../domain/routes.ts';
import { type Fields, isObject, type Usage, usageOf } from './usage.ts';

/** What one event has. */
interface EventContent {
  readonly content: boolean;
  readonly usageOnly: boolean;
}

export interface EventReader {
  read(event: unknown): EventContent;
  /** A choice has ended: only usage and the end of the stream may follow for it. */
  finishSeen(): boolean;
  finished(): boolean;
  errorFrame(): boolean;
  /** @param tokenEvents content events so far. */
  usage(tokenEvents: number): Usage | undefined;
  /** The usage is that of the beginning, or of so far: what comes after is not in it. */
  isUsageEarly(): boolean;
}

const NOTHING: EventContent = { content: false, usageOnly: false };
const CONTENT: EventContent = { content: true, usageOnly: false };
const USAGE_ONLY: EventContent = { content: false, usageOnly: true };

/** Choices of one request whose usage is kept apart; more come only from an engine that makes up indexes. */
const MAX_CHOICES = 4096;

export const isTypedRoute = (route: EngineRoute): boolean => route === 'responses' || route === 'messages';

export function createEventReader(route: EngineRoute): EventReader {
  return isTypedRoute(route) ? new TypedReader() : new ChoicesReader();
}

/** Chat and completions. */
class ChoicesReader implements EventReader {
  private readonly finishedChoices = new Set<number>();
  /** The latest usage of each choice: with several choices each chunk carries only its own choice's count (vLLM). */
  private readonly perChoice = new Map<number, Usage>();
  /** Usage of events without choices: the total. llama.cpp sends one for each choice instead. */
  private total: Usage | undefined;
  private totals = 0;
  private sum: Usage | undefined;
  private failed = false;

  read(event: unknown): EventContent {
    if (!isObject(event)) return NOTHING;
    const isError = isErrorEvent(event);
    if (isError) this.failed = true;
    const { choices } = event;
    if (!Array.isArray(choices)) return NOTHING;

    let content = false;
    for (const choice of choices as readonly unknown[]) {
      if (!isObject(choice)) continue;
      const { text, delta, finish_reason: reason } = choice;
      if (hasContent(text) || (isObject(delta) && deltaHasContent(delta))) content = true;
      if (typeof reason === 'string' && reason !== '' && this.finishedChoices.size < MAX_CHOICES) {
        this.finishedChoices.add(indexOf(choice));
      }
    }

    const usage = usageOf(event);
    if (usage !== undefined) this.note(usage, choices as readonly unknown[]);
    if (content) return CONTENT;
    return choices.length === 0 && !isError && isObject(event['usage']) ? USAGE_ONLY : NOTHING;
  }

  finishSeen(): boolean {
    return this.finishedChoices.size > 0;
  }

  finished(): boolean {
    return false;
  }

  errorFrame(): boolean {
    return this.failed;
  }

  isUsageEarly(): boolean {
    if (this.total !== undefined) return false;
    for (const index of this.perChoice.keys()) if (!this.finishedChoices.has(index)) return true;
    return false;
  }

  usage(tokenEvents: number): Usage | undefined {
    const { finishedChoices } = this;
    const several = finishedChoices.size > 1;
    let usage = several && this.totals === finishedChoices.size ? this.sum : this.total;
    if (usage === undefined)
      for (const one of this.perChoice.values()) usage = usage === undefined ? one : together(usage, one);
    // One engine reports a single choice's tokens for all of them. An event carries at least one token.
    return usage !== undefined && several && usage.completionTokens < tokenEvents
      ? { ...usage, completionTokens: tokenEvents }
      : usage;
  }

  private note(usage: Usage, choices: readonly unknown[]): void {
    if (choices.length === 0) {
      this.total = usage;
      this.totals++;
      this.sum = this.sum === undefined ? usage : together(this.sum, usage);
      return;
    }
    const [first] = choices;
    const index = isObject(first) ? indexOf(first) : 0;
    if (this.perChoice.has(index) || this.perChoice.size < MAX_CHOICES) this.perChoice.set(index, usage);
  }
}

/** Responses and Anthropic messages: each event has a `type`. */
class TypedReader implements EventReader {
  private latestUsage: Usage | undefined;
  private isEarly = true;
  private isFinished = false;
  private failed = false;

  read(event: unknown): EventContent {
    if (!isObject(event)) return NOTHING;
    if (isErrorEvent(event)) this.failed = true;
    const { type, delta } = event;
    const reported = usageOf(event);
    // Anthropic splits it: message_start has the prompt, message_delta the output so far.
    if (reported !== undefined) {
      this.latestUsage = this.latestUsage === undefined ? reported : latest(this.latestUsage, reported);
      if (type !== 'message_start') this.isEarly = false;
    }
    switch (type) {
      case 'response.completed':
      case 'response.incomplete':
      case 'message_stop':
        this.isFinished = true;
        return NOTHING;
      case 'response.failed':
        this.failed = true;
        return NOTHING;
      case 'content_block_delta':
        return isObject(delta) && deltaHasContent(delta) ? CONTENT : NOTHING;
      default:
        return typeof type === 'string' && type.endsWith('.delta') && hasContent(delta) ? CONTENT : NOTHING;
    }
  }

  finishSeen(): boolean {
    return this.isFinished;
  }

  finished(): boolean {
    return this.isFinished;
  }

  errorFrame(): boolean {
    return this.failed;
  }

  usage(): Usage | undefined {
    return this.latestUsage;
  }

  isUsageEarly(): boolean {
    return this.isEarly;
  }
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
