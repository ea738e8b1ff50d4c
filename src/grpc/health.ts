/** grpc.health.v1: what orchestrators and Envoy's health checks ask. */
import type { Frame } from './frames.ts';
import {
  beginMessage,
  endMessage,
  finishFrame,
  hasMore,
  isMalformed,
  putNumber,
  putString,
  readerOf,
  readString,
  readTag,
  skipField,
  startMessage,
  tagOf,
  WIRE,
  type Writer,
} from './protobuf.ts';
import type { GrpcService, ServerStream, StreamHandler } from './service.ts';
import { MALFORMED_REQUEST, STATUS } from './status.ts';

const SERVING = 1;
const NOT_SERVING = 2;
const SERVICE_UNKNOWN = 3;

const SERVICE = 1;
const STATUS_FIELD = 1;
const STATUSES = 1;
const KEY = 1;
const VALUE = 2;
const SERVICE_TAG = tagOf(SERVICE, WIRE.bytes);

export interface Health {
  readonly service: GrpcService;
  /** Of all services at once, but those that are live. Tells those who watch when it changes. */
  readonly setServing: (serving: boolean) => void;
}

/** HealthCheckRequest: the name of the service. @throws Malformed */
function decodeCheck(bytes: Buffer): string {
  const reader = readerOf(bytes);
  let name = '';
  while (hasMore(reader)) {
    const tag = readTag(reader);
    if (tag === SERVICE_TAG) name = readString(reader);
    else skipField(reader, tag);
  }
  return name;
}

function encodeStatus(status: number): Frame {
  const writer = startMessage();
  putNumber(writer, STATUS_FIELD, status);
  return finishFrame(writer);
}

function putEntry(writer: Writer, name: string, status: number): void {
  const entry = beginMessage(writer);
  const value = beginMessage(writer);
  putNumber(writer, STATUS_FIELD, status);
  endMessage(writer, VALUE, value);
  putString(writer, KEY, name);
  endMessage(writer, STATUSES, entry);
}

/**
 * @param names the services that are known; the empty one is the server as a whole. They serve from the start.
 * @param live those that serve as long as anybody answers for them.
 */
export function createHealth(names: readonly string[], live: readonly string[] = []): Health {
  let status = SERVING;
  const known: ReadonlySet<string> = new Set([...names, ...live]);
  const always: ReadonlySet<string> = new Set(live);
  const statusOf = (name: string): number => (always.has(name) ? SERVING : status);
  const list = (): Frame => {
    const writer = startMessage();
    for (const name of known) putEntry(writer, name, statusOf(name));
    return finishFrame(writer);
  };
  const watchers = new Set<ServerStream>();

  const watch = (stream: ServerStream): StreamHandler => ({
    onMessage(message) {
      try {
        const name = decodeCheck(message);
        if (!always.has(name) && known.has(name)) watchers.add(stream);
        stream.write(encodeStatus(known.has(name) ? statusOf(name) : SERVICE_UNKNOWN));
      } catch (error) {
        if (!isMalformed(error)) throw error;
        stream.end(MALFORMED_REQUEST);
      }
    },
    // It has asked, and now it listens.
    onEnd: () => undefined,
    onClose: () => watchers.delete(stream),
  });

  return {
    service: {
      name: 'grpc.health.v1.Health',
      methods: {
        Check: {
          kind: 'unary',
          handle(request) {
            try {
              const name = decodeCheck(request);
              if (known.has(name)) return encodeStatus(statusOf(name));
              return { code: STATUS.notFound, message: `Health status unknown for service ${name}` };
            } catch (error) {
              if (!isMalformed(error)) throw error;
              return MALFORMED_REQUEST;
            }
          },
        },
        Watch: { kind: 'stream', open: watch },
        List: { kind: 'unary', handle: list },
      },
    },
    setServing(serving) {
      const next = serving ? SERVING : NOT_SERVING;
      if (next === status) return;
      status = next;
      for (const stream of watchers) stream.write(encodeStatus(status));
    },
  };
}
