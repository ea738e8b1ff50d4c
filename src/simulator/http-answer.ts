/** One answer of the simulated engine on its way to a client, streamed or in one piece. */
import type { ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { type Fault, writeTo } from './http-faults.ts';
import { jsonAnswer } from './openai-answers.ts';
import type { Job } from './openai-requests.ts';
import { type StreamWriter, streamWriter } from './openai-streams.ts';

const ERROR_FRAME = {
  error: { message: 'the engine failed', type: 'InternalServerError', code: 500 },
};

export class HttpAnswer {
  readonly id: string;
  readonly job: Job;
  readonly #response: ServerResponse;
  readonly #fault: Fault | undefined;
  readonly createdS = Math.floor(Date.now() / 1_000);
  readonly #writer: StreamWriter;
  readonly #write: (text: string) => void;
  #choicesLeft: number;
  #tokens = 0;
  /** What the prefix cache had, as far as the engine has said. */
  cachedTokens = 0;

  constructor(id: string, job: Job, response: ServerResponse, fault: Fault | undefined) {
    this.id = id;
    this.job = job;
    this.#response = response;
    this.#fault = fault;
    this.#writer = streamWriter(id, job, this.createdS, fault?.kind !== 'no-usage');
    this.#write = writeTo(response, fault);
    this.#choicesLeft = job.choices;
  }

  /** Sends the headers of a stream. Those of an answer in one piece come with it. */
  begin(): void {
    if (!this.job.stream) return;
    this.#response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      ...(this.#fault?.kind === 'gzip' && { 'content-encoding': 'gzip' }),
      ...(this.#fault?.kind === 'trailers' && { trailer: 'x-engine' }),
    });
    this.#response.flushHeaders();
  }

  /** Takes a token of a choice. @returns true when the last choice has its last one: `end` is due. */
  token(choice: number, index: number, last: boolean, cachedTokens: number): boolean {
    this.cachedTokens = Math.max(this.cachedTokens, cachedTokens);
    this.#tokens += 1;
    if (this.job.stream && !this.#streamToken(choice, index, last)) return false;
    if (last) this.#choicesLeft -= 1;
    return last && this.#choicesLeft === 0;
  }

  end(): void {
    if (this.#fault?.kind === 'trailers') this.#response.addTrailers({ 'x-engine': 'simulated' });
    if (this.job.stream) {
      const failed = this.#fault?.kind === 'error-frame';
      this.#write(failed ? 'data: [DONE]\n\n' : this.#writer.end(this.cachedTokens));
      this.#response.end();
      return;
    }
    const reportUsage = this.#fault?.kind !== 'no-usage';
    const text = jsonAnswer(this.id, this.job, this.createdS, this.cachedTokens, reportUsage);
    const bytes = this.#fault?.kind === 'gzip' ? gzipSync(text) : Buffer.from(text);
    this.#response.writeHead(200, {
      'content-type': 'application/json',
      ...(this.#fault?.kind === 'gzip' && { 'content-encoding': 'gzip' }),
      ...(this.#fault?.kind === 'trailers' ? { trailer: 'x-engine' } : { 'content-length': bytes.length }),
    });
    this.#response.end(bytes);
  }

  /** @returns false if the engine died over it. */
  #streamToken(choice: number, index: number, last: boolean): boolean {
    const fault = this.#fault;
    if (this.#tokens === 1) this.#write(this.#writer.start(this.cachedTokens));
    if (fault?.kind === 'error-frame' && this.#tokens === 2) {
      this.#write(`data: ${JSON.stringify(ERROR_FRAME)}\n\n`);
    }
    this.#write(this.#writer.token(choice, index));
    if (fault?.kind === 'die-mid-stream' && this.#tokens >= fault.afterTokens) {
      this.#response.destroy();
      return false;
    }
    if (last) this.#write(this.#writer.choiceEnd(choice));
    return true;
  }
}
