/** The messages by which a request may end, to both edges: none of them lets a request pass that was not admitted. */
import { describe, expect, it } from 'vitest';
import type { Edge, RequestHead } from '../../src/admission/edge.ts';
import { modelsRequestOf } from '../../src/admission/models-lifecycle.ts';
import { storedRequestOf } from '../../src/admission/stored-lifecycle.ts';
import { createEndpointPickerService } from '../../src/ext-proc/grpc-endpoint-picker.ts';
import { createExtProcService } from '../../src/ext-proc/grpc-ext-proc.ts';
import type { ServerStream, StreamMethod } from '../../src/grpc/service.ts';
import { createWorld, type World } from '../support/lifecycle.ts';
import { type Message, referenceCodec } from '../support/reference-codec.ts';

const codec = referenceCodec(
  'envoy/service/ext_proc/v3/external_processor.proto',
  'envoy.service.ext_proc.v3.ExternalProcessor',
  'Process',
);
const GOOD = '{"model":"small","messages":[{"role":"user","content":"hi"}]}';

interface Head {
  readonly method?: string;
  readonly path?: string;
  readonly end?: boolean;
  readonly extra?: number;
}
const headers = ({ method = 'POST', path = '/v1/chat/completions', end = false, extra = 0 }: Head = {}) => ({
  request_headers: {
    headers: {
      headers: [
        [':method', method],
        [':path', path],
        ['x-fairlane-tenant', 'a'],
        ...Array.from({ length: extra }, (_, i) => [`x-${i}`, '1']),
      ].map(([key = '', value = '']) => ({ key, raw_value: Buffer.from(value) })),
    },
    end_of_stream: end,
  },
});
const body = (text: string, end: boolean) => ({
  request_body: { body: Buffer.from(text), end_of_stream: end },
});
const trailers = { request_trailers: {} };

const shared = (world: World) => ({
  openRequest: (edge: Parameters<World['request']>[0]) => world.request(edge),
  openOther: (edge: Edge, head: RequestHead) =>
    storedRequestOf(world.context, edge, head) ?? modelsRequestOf(world.context, edge, head),
  now: () => 0,
  draining: () => false,
  onMisconfigured: (detail: string) => {
    throw new Error(detail);
  },
  onStreamError: (detail: string) => {
    throw new Error(detail);
  },
});
const refusal = { status: 503, headers: [], body: '', details: 'x' };
const EDGES = {
  sidecar: (world: World) => createExtProcService(shared(world)),
  picker: (world: World) =>
    createEndpointPickerService({
      ...shared(world),
      later: setImmediate,
      tenantOf: (id) => id,
      fairnessHeader: 'x-fairlane-tenant',
      pickAny: () => ['10.0.0.1:8000'],
      answers: { noEndpoint: refusal, draining: refusal, bodyTooLarge: refusal, unsizedTooLarge: refusal },
      maxBodyBytes: 1_000_000,
      maxUnsizedBodyBytes: 1_000_000,
    }),
};

/** What an edge says to the messages, one after another, and how many requests run in an engine then. */
function talk(kind: keyof typeof EDGES, messages: readonly object[], world = createWorld()) {
  const service = EDGES[kind](world);
  const said: Message[] = [];
  let ended = false;
  const stream: ServerStream = {
    write: (frame, beyond = []) => said.push(codec.decodeResponse(Buffer.concat([frame, ...beyond]))),
    end: () => {
      ended = true;
    },
  };
  const handler = (service.methods['Process'] as StreamMethod).open(stream);
  for (const message of messages) handler.onMessage(Buffer.from(codec.encodeRequest(message)));
  const running = world.endpoints.inFlight();
  return { said, running, ended, handler, world };
}

/** Whether it lets the request go on to an engine; `open`: not yet. */
function outcome(said: readonly Message[]): 'admitted' | 'open' | number {
  const immediate = said.find(({ response }) => response === 'immediate_response');
  if (immediate !== undefined) return immediate.immediate_response.status.code;
  return said.some(({ dynamic_metadata: metadata }) => metadata?.fields !== undefined) ? 'admitted' : 'open';
}

const ENDINGS: readonly (readonly [string, readonly object[], 'admitted' | 'open' | number])[] = [
  ['the end with the headers', [headers({ end: true })], 400],
  ['a body', [headers(), body(GOOD, true)], 'admitted'],
  ['a body and trailers', [headers(), body(GOOD, true), trailers], 'admitted'],
  ['a body of no bytes', [headers(), body('', true)], 400],
  ['trailers without a body', [headers(), trailers], 400],
  ['trailers without a body, twice', [headers(), trailers, trailers], 400],
  ['trailers, then a body', [headers(), trailers, body(GOOD, true)], 400],
  ['headers and no end', [headers()], 'open'],
  ['too many headers', [headers({ extra: 200 }), body(GOOD, true)], 431],
  ['too many headers and the end', [headers({ extra: 200, end: true })], 431],
  ['a body for a path that is not served', [headers({ path: '/sleep' }), body(GOOD, true)], 404],
  ['trailers for a path that is not served', [headers({ path: '/sleep' }), trailers], 404],
];

describe.each(['sidecar', 'picker'] as const)('the edge of a %s', (kind) => {
  it.each(ENDINGS)('%s', (_name, messages, expected) => {
    const { said, running, handler, world } = talk(kind, messages);
    expect(outcome(said)).toBe(expected);
    expect(running).toBe(expected === 'admitted' ? 1 : 0);
    // A reset or a hang-up after any of them leaves nothing behind.
    handler.onEnd();
    handler.onClose();
    expect(world.endpoints.inFlight()).toBe(0);
  });

  it('a reset between any two messages leaves nothing behind', () => {
    for (const messages of [
      [headers(), body(GOOD, true), trailers],
      [headers(), trailers],
    ]) {
      for (let count = 0; count <= messages.length; count += 1) {
        const { handler, world } = talk(kind, messages.slice(0, count));
        handler.onClose();
        expect(world.endpoints.inFlight()).toBe(0);
      }
    }
  });
});

describe('the edge of a sidecar', () => {
  it('asks for all that comes after when it lets the headers pass', () => {
    const [first] = talk('sidecar', [headers()]).said;
    expect(first.mode_override).toMatchObject({
      request_body_mode: 'BUFFERED',
      request_trailer_mode: 'SEND',
      response_header_mode: 'SEND',
      response_trailer_mode: 'SEND',
    });
  });
});

const answerHeaders = {
  response_headers: { headers: { headers: [{ key: ':status', raw_value: Buffer.from('503') }] } },
};
const isImmediate = ({ response }: Message): boolean => response === 'immediate_response';

describe('the edge of a picker', () => {
  it.each([
    ['a refused head', [headers({ extra: 200 }), body(GOOD, false), body(GOOD, true), trailers]],
    ['a bad body', [headers(), body('{', true), trailers]],
    ['an empty body', [headers(), trailers, trailers, body(GOOD, true)]],
    ['a path that is not served', [headers({ path: '/sleep' }), body(GOOD, true), trailers]],
  ])(
    'says nothing after an immediate response: %s (llm-d handlers/server.go: it returns)',
    (_name, messages) => {
      const { said, ended } = talk('picker', [...messages, answerHeaders, { response_trailers: {} }]);
      expect(said.map(isImmediate)).toEqual([true]);
      expect(ended).toBe(true);
    },
  );

  it('turns a request away once while it drains', () => {
    const world = createWorld();
    const service = createEndpointPickerService({
      ...shared(world),
      draining: () => true,
      later: setImmediate,
      tenantOf: (id) => id,
      fairnessHeader: 'x-fairlane-tenant',
      pickAny: () => [],
      answers: { noEndpoint: refusal, draining: refusal, bodyTooLarge: refusal, unsizedTooLarge: refusal },
      maxBodyBytes: 1_000,
      maxUnsizedBodyBytes: 1_000,
    });
    const said: Message[] = [];
    const handler = (service.methods['Process'] as StreamMethod).open({
      write: (frame) => said.push(codec.decodeResponse(frame)),
      end: () => undefined,
    });
    for (const message of [headers(), body(GOOD, true), trailers, answerHeaders]) {
      handler.onMessage(Buffer.from(codec.encodeRequest(message)));
    }
    expect(said.map(isImmediate)).toEqual([true]);
  });

  const bodyInParts = [headers(), body(GOOD.slice(0, 10), false), body(GOOD.slice(10), false)];

  it('puts a body together however it ends', () => {
    expect(outcome(talk('picker', [...bodyInParts, body('', true)]).said)).toBe('admitted');
    expect(outcome(talk('picker', [...bodyInParts, trailers]).said)).toBe('admitted');
    expect(outcome(talk('picker', bodyInParts).said)).toBe('open');
  });

  it('lets go where it may what is none of its API and has no body', () => {
    const { said } = talk('picker', [headers({ method: 'GET', path: '/metrics', end: true })]);
    expect(outcome(said)).toBe('admitted');
    const { said: named } = talk('picker', [headers({ method: 'GET', path: '/v1/models', end: true })]);
    expect(outcome(named)).toBe(200);
  });

  it('overwrites the endpoint that a client named', () => {
    const [first] = talk('picker', [headers(), body(GOOD, true)]).said;
    const set = first.request_headers.response.header_mutation.set_headers as readonly {
      readonly header: { readonly key: string; readonly raw_value: Buffer };
      readonly append_action: string;
    }[];
    const found = set.find(({ header }) => header.key === 'x-gateway-destination-endpoint');
    expect([found?.append_action, String(found?.header.raw_value)]).toEqual([
      'OVERWRITE_IF_EXISTS_OR_ADD',
      '10.0.0.1:8000',
    ]);
  });
});

describe.each(['sidecar', 'picker'] as const)('a stored response at the edge of a %s', (kind) => {
  const get = (path: string, method = 'GET') => [headers({ method, path, end: true })];
  const owned = (): World => {
    const world = createWorld();
    const owner = {
      tenant: 'a',
      pool: 'main',
      endpoint: '10.0.0.1:8000',
      model: 'small',
      asked: 'small',
      tokens: 0,
    };
    world.context.owners?.remember('resp_1', owner, 0);
    world.context.owners?.remember('resp_2', { ...owner, tenant: 'b' }, 0);
    return world;
  };

  it('goes to the endpoint that has it, for its owner, by the reply to its headers', () => {
    for (const [method, path] of [
      ['GET', '/v1/responses/resp_1'],
      ['DELETE', '/v1/responses/resp_1'],
      ['POST', '/v1/responses/resp_1/cancel'],
      ['GET', '/v1/responses/resp_1/input_items?limit=1'],
    ] as const) {
      const { said } = talk(kind, get(path, method), owned());
      expect(outcome(said)).toBe('admitted');
      expect(said.map(({ response }) => response)).toEqual(['request_headers']);
      expect(said[0]?.request_headers.response.clear_route_cache).toBe(true);
      expect(JSON.stringify(said[0]?.dynamic_metadata)).toContain('10.0.0.1:8000');
    }
  });

  it('of another tenant is unknown, and one that is written in another way is no route', () => {
    for (const path of [
      '/v1/responses/resp_2',
      '/v1/responses/resp_3',
      '/v1/responses/resp_2?stream=true',
      '/v1/responses/resp%5f2',
      '/v1/%72esponses/resp_2',
      '/v1//responses/resp_2',
      '/v1/responses/resp_2/',
      '/v1/RESPONSES/resp_2',
      '/x/../v1/responses/resp_2',
      '/v1/responses/resp_2%',
    ]) {
      const { said } = talk(kind, get(path), owned());
      expect([path, outcome(said)]).toEqual([path, 404]);
    }
  });

  it('takes no body', () => {
    const { said } = talk(
      kind,
      [headers({ path: '/v1/responses/resp_1/cancel' }), body('{}', true)],
      owned(),
    );
    expect(outcome(said)).toBe(400);
  });
});
