/** Who looks at the console and takes nothing loses its place, by time. */
import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { ConsoleHistory } from '../../../src/admin/console-history.ts';
import { ConsoleStreams } from '../../../src/admin/http-console-streams.ts';

/** A connection that holds what is written until the test lets some of it go. */
class FakeResponse extends EventEmitter {
  writableLength = 0;
  isCut = false;
  readonly socket = { bytesWritten: 0, writableLength: 0, setTimeout: () => undefined };
  status = 0;

  writeHead(status: number): this {
    this.status = status;
    return this;
  }

  write(bytes: Buffer): boolean {
    this.socket.bytesWritten += bytes.length;
    this.#waits(this.writableLength + bytes.length);
    return false;
  }

  /** The kernel takes so many bytes. */
  take(bytes: number): void {
    this.#waits(Math.max(0, this.writableLength - bytes));
  }

  destroy(): void {
    this.isCut = true;
    this.emit('close');
  }

  end(): void {
    this.emit('close');
  }

  #waits(bytes: number): void {
    this.writableLength = bytes;
    this.socket.writableLength = bytes;
  }
}

let streams: ConsoleStreams;
beforeEach(() => {
  vi.useFakeTimers();
  streams = new ConsoleStreams(() => '{}', new ConsoleHistory(0, String));
});
afterEach(() => {
  streams.close();
  vi.useRealTimers();
});

const add = (): FakeResponse => {
  const response = new FakeResponse();
  streams.add(response as unknown as ServerResponse);
  return response;
};

it('a reader that stands still for 10 s is cut, and not before', () => {
  const still = add();
  vi.advanceTimersByTime(9_900);
  expect(still.isCut).toBe(false);
  vi.advanceTimersByTime(200);
  expect([still.isCut, streams.size]).toEqual([true, 0]);
});

it('a reader that is slow, and one that has taken all, are not', () => {
  const [slow, prompt] = [add(), add()];
  for (let at = 0; at < 120; at += 1) {
    slow.take(1);
    prompt.take(Number.POSITIVE_INFINITY);
    vi.advanceTimersByTime(5_000);
  }
  expect([slow.isCut, prompt.isCut, streams.size]).toEqual([false, false, 2]);
});

it('a reader that goes on in time begins anew', () => {
  const reader = add();
  vi.advanceTimersByTime(9_000);
  reader.take(10);
  vi.advanceTimersByTime(9_000);
  expect(reader.isCut).toBe(false);
  vi.advanceTimersByTime(3_000);
  expect(reader.isCut).toBe(true);
});

it('nothing runs while nobody looks', () => {
  expect(vi.getTimerCount()).toBe(0);
  const reader = add();
  expect(vi.getTimerCount()).toBe(1);
  reader.end();
  expect(vi.getTimerCount()).toBe(0);
});

it('an answer behind another one of its connection takes no place: the end of the connection is not told to it', () => {
  const behind = new FakeResponse();
  streams.add(Object.assign(behind as unknown as ServerResponse, { socket: null }));
  expect([behind.status, streams.size]).toEqual([503, 0]);
  const first = add();
  expect([first.status, streams.size]).toEqual([200, 1]);
});
