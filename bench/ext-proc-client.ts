/** Plays Envoy: a gRPC client of the service's ext_proc edge, and the messages of a chat request. */
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import * as protoLoader from '@grpc/proto-loader';

const PROTOS = fileURLToPath(new URL('../proto', import.meta.url));

/** A message of the service, by its kind. */
export interface Reply {
  readonly response?: string;
}

/** The stream of one HTTP request. */
export interface ProcessCall {
  write(message: object): void;
  end(): void;
  cancel(): void;
  on(event: 'data', listener: (reply: Reply) => void): void;
  on(event: 'error', listener: (error: Error) => void): void;
  on(event: 'end', listener: () => void): void;
}

export type ExtProcClient = grpc.Client & { Process(): ProcessCall };

const { envoy } = grpc.loadPackageDefinition(
  protoLoader.loadSync('envoy/service/ext_proc/v3/external_processor.proto', {
    keepCase: true,
    enums: String,
    oneofs: true,
    includeDirs: [PROTOS],
  }),
) as unknown as {
  readonly envoy: {
    readonly service: {
      readonly ext_proc: {
        readonly v3: {
          readonly ExternalProcessor: new (
            address: string,
            credentials: grpc.ChannelCredentials,
            options: grpc.ChannelOptions,
          ) => ExtProcClient;
        };
      };
    };
  };
};

/** A connection of its own. Envoy has one for each of its threads. */
export const connect = (port: number): ExtProcClient =>
  new envoy.service.ext_proc.v3.ExternalProcessor(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), {
    'grpc.use_local_subchannel_pool': 1,
  });

/** Headers as Envoy passes them on. */
export const headersOf = (pairs: Readonly<Record<string, string>>): object => ({
  headers: {
    headers: Object.entries(pairs).map(([key, value]) => ({ key, raw_value: Buffer.from(value) })),
  },
});

/** The headers of a chat request of the tenant `a`, as Envoy passes them on. */
export const CHAT_HEADERS = {
  request_headers: headersOf({
    ':method': 'POST',
    ':path': '/v1/chat/completions',
    ':authority': 'fairlane.example',
    'content-type': 'application/json',
    'user-agent': 'OpenAI/Python 2.8.0',
    accept: 'application/json',
    'x-request-id': '0b7cbb0e-6ba2-4cbf-8d3e-3d8f0c6d2a5e',
    'x-fairlane-tenant': 'a',
  }),
};

export const requestBody = (body: string): object => ({
  request_body: { body: Buffer.from(body), end_of_stream: true },
});

/** The headers of an answer with status 200. */
export const answerHeaders = (contentType: string): object => ({
  response_headers: headersOf({ ':status': '200', 'content-type': contentType }),
});

export const answerBody = (body: string, isLast: boolean): object => ({
  response_body: { body: Buffer.from(body), end_of_stream: isLast },
});
