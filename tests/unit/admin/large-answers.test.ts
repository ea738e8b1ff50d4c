/** Answers with megabytes: in memory once for all who ask, and bounded for those who are slow to read. */
import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { expect, it } from 'vitest';
import { LargeAnswers } from '../../../src/admin/http-large-answers.ts';

const MIB = 1024 * 1024;

class FakeResponse extends EventEmitter {
  bytes: Buffer | undefined;
  headers: Readonly<Record<string, unknown>> = {};
  destroyed = false;

  writeHead(_status: number, headers: Readonly<Record<string, unknown>>): this {
    this.headers = headers;
    return this;
  }

  end(bytes: Buffer): void {
    this.bytes = bytes;
  }

  destroy(): void {
    this.destroyed = true;
    this.emit('close');
  }
}

const answers = new LargeAnswers();
const ask = (text: string, response = new FakeResponse()): FakeResponse => {
  answers.send(response as unknown as ServerResponse, { 'content-type': 'text/plain' }, text);
  return response;
};
const textOf = (letter: string, mib: number): string => `${letter.repeat(mib * MIB - 1)}\n`;

it('what many ask for is in memory once, with its length', () => {
  const [one, other] = [ask('{}'), ask('{}')];
  expect(one.bytes).toBe(other.bytes);
  expect(one.bytes?.toString()).toBe('{}\n');
  expect(one.headers).toEqual({ 'content-type': 'text/plain', 'content-length': 3 });
  for (const reader of [one, other]) reader.destroy();
});

it('the oldest texts are cut for the next one, those that were read are not counted', () => {
  const readers = Array.from({ length: 4 }, (_, at) => ask(textOf(String(at), 16)));
  const second = ask(textOf('0', 16));
  readers[1]?.emit('close');
  ask(textOf('4', 16));
  expect(readers.map(({ destroyed }) => destroyed)).toEqual([false, false, false, false]);
  const last = ask(textOf('5', 32));
  expect(readers.map(({ destroyed }) => destroyed)).toEqual([true, false, true, false]);
  expect([second.destroyed, last.destroyed]).toEqual([true, false]);
  // One that is larger than all together is answered, alone.
  expect(ask(textOf('6', 80)).bytes).toHaveLength(80 * MIB);
  expect([readers[3]?.destroyed, last.destroyed]).toEqual([true, true]);
});

it('who is gone before the text is there is not waited for', () => {
  const gone = new FakeResponse();
  gone.destroy();
  expect(ask('{}', gone).bytes).toBeUndefined();
});

it('who hears late of its cut does not free what others have of the same text since', () => {
  const first = new FakeResponse();
  first.destroy = () => undefined;
  ask(textOf('a', 16), first);
  ask(textOf('b', 64));
  const second = ask(textOf('a', 16));
  first.emit('close');
  ask(textOf('c', 64));
  expect(second.destroyed).toBe(true);
});
