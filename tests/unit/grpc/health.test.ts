import { describe, expect, it } from 'vitest';
import type { Frame } from '../../../src/grpc/frames.ts';
import { createHealth } from '../../../src/grpc/health.ts';
import type { GrpcMethod, ServerStream } from '../../../src/grpc/service.ts';
import type { Failure } from '../../../src/grpc/status.ts';
import { referenceCodec } from '../../support/reference-codec.ts';

const codecOf = (method: string) =>
  referenceCodec('grpc/health/v1/health.proto', 'grpc.health.v1.Health', method);
const check = codecOf('Check');
const list = codecOf('List');
const asking = (service: string): Buffer => check.encodeRequest({ service });
const statusOf = (frame: Buffer): string => check.decodeResponse(frame).status;

function unary(method: GrpcMethod | undefined, request: Buffer): Frame | Failure {
  if (method?.kind !== 'unary') throw new Error('it is no unary method');
  return method.handle(request) as Frame | Failure;
}

function watching(method: GrpcMethod | undefined, request: Buffer) {
  if (method?.kind !== 'stream') throw new Error('it is no stream');
  const said: string[] = [];
  const ends: (Failure | undefined)[] = [];
  const stream: ServerStream = {
    write: (frame) => said.push(statusOf(frame)),
    end: (failure) => ends.push(failure),
  };
  const handler = method.open(stream);
  handler.onMessage(request);
  handler.onEnd();
  return { said, ends, handler };
}

describe('health', () => {
  it('is told of a service that is known, of no other', () => {
    const { service, setServing } = createHealth(['', 'one.Service']);
    const { Check } = service.methods;
    expect(statusOf(unary(Check, asking('one.Service')) as Frame)).toBe('SERVING');
    setServing(false);
    expect(statusOf(unary(Check, asking('')) as Frame)).toBe('NOT_SERVING');
    expect(unary(Check, asking('another.Service'))).toMatchObject({ code: 5 });
    expect(unary(Check, Buffer.from([0x0a, 0xff]))).toMatchObject({ code: 13 });
  });

  it('is told again when it changes, and only then, and only to who still listens', () => {
    const { service, setServing } = createHealth(['']);
    const known = watching(service.methods['Watch'], asking(''));
    const unknown = watching(service.methods['Watch'], asking('another.Service'));
    setServing(true);
    setServing(false);
    setServing(true);
    known.handler.onClose();
    setServing(false);
    expect(known.said).toEqual(['SERVING', 'NOT_SERVING', 'SERVING']);
    expect(unknown.said).toEqual(['SERVICE_UNKNOWN']);
    expect(known.ends).toEqual([]);
    expect(watching(service.methods['Watch'], Buffer.from([0x0a, 0xff])).ends).toMatchObject([{ code: 13 }]);
  });

  it('is listed', () => {
    const { service } = createHealth(['', 'one.Service']);
    expect(list.decodeResponse(unary(service.methods['List'], Buffer.alloc(0)) as Frame).statuses).toEqual({
      '': { status: 'SERVING' },
      'one.Service': { status: 'SERVING' },
    });
  });

  it('says of what is live that it serves, whatever the others do', () => {
    const { service, setServing } = createHealth(['', 'readiness'], ['liveness']);
    const watched = watching(service.methods['Watch'], asking('liveness'));
    setServing(false);
    const { Check } = service.methods;
    expect(statusOf(unary(Check, asking('liveness')) as Frame)).toBe('SERVING');
    expect(statusOf(unary(Check, asking('readiness')) as Frame)).toBe('NOT_SERVING');
    expect(watched.said).toEqual(['SERVING']);
    expect(list.decodeResponse(unary(service.methods['List'], Buffer.alloc(0)) as Frame).statuses).toEqual({
      '': { status: 'NOT_SERVING' },
      readiness: { status: 'NOT_SERVING' },
      liveness: { status: 'SERVING' },
    });
  });
});
