/** The codec that ours is held against: @grpc/proto-loader's, from proto/. */
import { fileURLToPath } from 'node:url';
import * as protoLoader from '@grpc/proto-loader';
import { PREFIX_BYTES } from '../../src/grpc/frames.ts';

// oxlint-disable-next-line no-explicit-any -- messages of any type, looked at by tests alone
export type Message = any;

export interface ReferenceCodec {
  readonly encodeRequest: (message: object) => Buffer;
  readonly decodeRequest: (bytes: Buffer) => Message;
  /** @param frame a message with its prefix. */
  readonly decodeResponse: (frame: Buffer) => Message;
}

export function referenceCodec(file: string, service: string, method: string): ReferenceCodec {
  const loaded = protoLoader.loadSync(file, {
    includeDirs: [fileURLToPath(new URL('../../proto', import.meta.url))],
    keepCase: true,
    longs: Number,
    enums: String,
    oneofs: true,
  });
  const definition = (loaded[service] as Record<string, Message>)[method];
  return {
    encodeRequest: (message) => definition.requestSerialize(message),
    decodeRequest: (bytes) => definition.requestDeserialize(bytes),
    decodeResponse: (frame) => definition.responseDeserialize(frame.subarray(PREFIX_BYTES)),
  };
}
