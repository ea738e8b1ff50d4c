/** What a gRPC service is to the server: its methods by path, over encoded messages. */
import type { Frame } from './frames.ts';
import type { Failure } from './status.ts';

/** A message with its prefix, ready to send, or why there is none. */
export type UnaryAnswer = Frame | Failure;

/** One request, one answer. What it throws, or rejects with, is answered as INTERNAL. */
export interface UnaryMethod {
  readonly kind: 'unary';
  /** @param request valid until the answer is given; it may be a part of something larger. */
  readonly handle: (request: Buffer) => UnaryAnswer | Promise<UnaryAnswer>;
}

/** The server's side of an open stream. After its end, of whichever side, all of these do nothing. */
export interface ServerStream {
  /**
   * Never blocks: while the peer does not read, its own messages are not read either.
   *
   * @param beyond the rest of the message; not to be changed afterwards.
   */
  write(frame: Frame, beyond?: readonly Uint8Array[]): void;
  /** Ends with OK, or with the failure. */
  end(failure?: Failure): void;
}

/** The service's side. What it throws ends the stream with INTERNAL. */
export interface StreamHandler {
  onMessage(message: Buffer): void;
  /** The peer has said all it had to say, and still listens. */
  onEnd(): void;
  /** Called once, and last: the stream is over, by our end, the peer's reset or the loss of the connection. */
  onClose(): void;
}

export interface StreamMethod {
  readonly kind: 'stream';
  readonly open: (stream: ServerStream) => StreamHandler;
}

export type GrpcMethod = UnaryMethod | StreamMethod;

export interface GrpcService {
  /** Full name, with the package. */
  readonly name: string;
  /** By the method's name. */
  readonly methods: Readonly<Record<string, GrpcMethod>>;
}
