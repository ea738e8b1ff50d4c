/** Reads the parsed events of a stream: content, finish, errors, usage. */
import { type EngineRoute, isResponses } from '../domain/routes.ts';
import { hasContent } from './answer-shapes.ts';
import { type Fields, isErrorShape, isObject, saysOutput, type Usage, usageReport } from './usage.ts';

// What one event has: bits.
export const CONTENT = 1;
/** A count of tokens that can be one. */
export const USAGE = 2;
/** Usage, and nothing else that a client would miss. */
export const USAGE_ONLY = 4;

export interface EventReader {
  /** Reads the next event, parsed. Gives what it has, as bits. */
  read(event: unknown): number;
  /** A choice has ended: only usage and the end of the stream may follow for it. */
  finishSeen(): boolean;
  finished(): boolean;
  errorFrame(): boolean;
  /** @param tokenEvents content events so far. */
  usage(tokenEvents: number): Usage | undefined;
  /** The usage is that of the beginning, or of so far: what comes after is not in it. */
  isUsageEarly(): boolean;
  /** Something stood where usage belongs that is none. */
  oddUsage(): boolean;
}

/** Choices of one request whose usage is kept apart; more come only from an engine that makes up indexes. */
const MAX_CHOICES = 4096;

export const isTypedRoute = (route: EngineRoute): boolean => isResponses(route) || route === 'messages';

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
  private odd = false;

  read(event: unknown): number {
    if (!isObject(event)) return 0;
    const isError = isErrorShape(event);
    if (isError) this.failed = true;
    const choices = event['choices'] ?? [];
    const list: readonly unknown[] = Array.isArray(choices) ? choices : [];

    let has = 0;
    for (const choice of list) {
      if (!isObject(choice)) continue;
      const { text, delta, finish_reason: reason } = choice;
      if (hasContent(text) || (isObject(delta) && deltaHasContent(delta))) has = CONTENT;
      if (typeof reason === 'string' && reason !== '' && this.finishedChoices.size < MAX_CHOICES) {
        this.finishedChoices.add(indexOf(choice));
      }
    }

    const { usage, odd } = usageReport(event);
    if (odd) this.odd = true;
    if (usage !== undefined) {
      this.note(usage, list);
      has |= USAGE;
    }
    const isOnly = !isError && list === choices && list.length === 0 && isObject(event['usage']);
    return isOnly && !saysMore(event) ? has | USAGE_ONLY : has;
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

  oddUsage(): boolean {
    return this.odd;
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
  private odd = false;

  read(event: unknown): number {
    if (!isObject(event)) return 0;
    if (isErrorShape(event)) this.failed = true;
    const { type, delta } = event;
    const { usage, odd } = usageReport(event);
    if (odd) this.odd = true;
    // Anthropic splits it: message_start has the prompt, message_delta the output so far, with the prompt or without.
    if (usage !== undefined) {
      this.latestUsage = this.latestUsage === undefined ? usage : latest(this.latestUsage, usage);
      if (!isBeginning(type) && saysOutput(event)) this.isEarly = false;
    }
    const has = usage === undefined ? 0 : USAGE;
    switch (type) {
      case 'response.completed':
      case 'response.incomplete':
      case 'message_stop':
        this.isFinished = true;
        return has;
      case 'content_block_delta':
        return isObject(delta) && deltaHasContent(delta) ? has | CONTENT : has;
      default:
        return typeof type === 'string' && type.endsWith('.delta') && hasContent(delta) ? has | CONTENT : has;
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

  oddUsage(): boolean {
    return this.odd;
  }
}

/** Events that come before the answer: what they report of the output is not all. */
function isBeginning(type: unknown): boolean {
  return (
    type === 'message_start' ||
    type === 'response.created' ||
    type === 'response.queued' ||
    type === 'response.in_progress'
  );
}

/** Without choices it may be an event of another API, with text of its own. */
function saysMore(event: Fields): boolean {
  const { delta, message, text, content } = event;
  return hasContent(delta) || hasContent(message) || hasContent(text) || hasContent(content);
}

function indexOf(choice: Fields): number {
  const { index } = choice;
  return typeof index === 'number' ? index : 0;
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
  const reasoning = (one.reasoningTokens ?? 0) + (other.reasoningTokens ?? 0);
  return {
    ...latest(one, other),
    completionTokens: one.completionTokens + other.completionTokens,
    ...(reasoning > 0 && { reasoningTokens: reasoning }),
  };
}

/** The larger of each: an engine that says nothing of a part again, or zero, takes nothing back. */
function latest(before: Usage, now: Usage): Usage {
  const created = Math.max(before.cacheCreationTokens ?? 0, now.cacheCreationTokens ?? 0);
  const reasoning = Math.max(before.reasoningTokens ?? 0, now.reasoningTokens ?? 0);
  return {
    promptTokens: Math.max(before.promptTokens, now.promptTokens),
    completionTokens: Math.max(before.completionTokens, now.completionTokens),
    cachedTokens: Math.max(before.cachedTokens, now.cachedTokens),
    ...(created > 0 && { cacheCreationTokens: created }),
    ...(reasoning > 0 && { reasoningTokens: reasoning }),
  };
}
