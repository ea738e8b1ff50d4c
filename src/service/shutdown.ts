/** What a start opened: closed in reverse order, each once, also when the start fails half-way. */
import { messageOf } from '../domain/text-of.ts';

export interface Opened {
  /** For the message, when closing it fails. */
  readonly name: string;
  /** When a service that ran ends. Absent: there is nothing to close. */
  readonly close?: () => Promise<void> | void;
  /** When the start fails after this step. Default: `close`. */
  readonly undo?: () => Promise<void> | void;
}

export class Shutdown {
  readonly #opened: Opened[] = [];
  /** Set from the first `close` or `fail` on. */
  #ended: Promise<void> | undefined;

  /** Notes a step, before or as soon as it is open: a step that fails half-way is undone too. */
  opened(step: Opened): void {
    if (this.#ended !== undefined) throw new Error(`${step.name}: opened after the end`);
    this.#opened.push(step);
  }

  /**
   * Closes everything. A second call waits for the first.
   *
   * @throws AggregateError when steps could not be closed; the others are closed all the same.
   */
  close(): Promise<void> {
    this.#ended ??= this.#end(({ close }) => close?.());
    return this.#ended;
  }

  /**
   * Takes back a start that failed.
   *
   * @param reason why it failed.
   * @throws the reason; an AggregateError where steps could not be taken back.
   */
  async fail(reason: unknown): Promise<never> {
    this.#ended ??= this.#end(({ close, undo = close }) => undo?.());
    const left: unknown = await this.#ended.catch((problem: unknown) => problem);
    if (left === undefined) throw reason;
    throw new AggregateError([reason, left], `${messageOf(reason)} (${messageOf(left)})`, { cause: reason });
  }

  async #end(stop: (step: Opened) => Promise<void> | void): Promise<void> {
    const problems: Error[] = [];
    for (let step = this.#opened.pop(); step !== undefined; step = this.#opened.pop()) {
      try {
        await stop(step);
      } catch (error) {
        problems.push(new Error(`${step.name}: ${messageOf(error)}`, { cause: error }));
      }
    }
    if (problems.length === 0) return;
    throw new AggregateError(problems, `not closed: ${problems.map(({ message }) => message).join('; ')}`);
  }
}
