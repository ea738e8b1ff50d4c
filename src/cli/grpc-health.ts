/** Asks a gRPC server how it is, as Envoy and orchestrators do. */
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import * as protoLoader from '@grpc/proto-loader';

const PROTO_ROOT = fileURLToPath(new URL('../../proto/', import.meta.url));

/**
 * The status of the server as a whole, such as `SERVING`.
 *
 * @param target `unix:PATH` or `host:port`.
 * @throws when there is none in time: the words of the connection.
 */
export async function askServing(target: string, timeoutMs: number): Promise<string> {
  const definition = protoLoader.loadSync('grpc/health/v1/health.proto', {
    includeDirs: [PROTO_ROOT],
    enums: String,
    defaults: true,
  });
  const Health = grpc.makeClientConstructor(
    definition['grpc.health.v1.Health'] as grpc.ServiceDefinition,
    'grpc.health.v1.Health',
  );
  const client = new Health(target, grpc.credentials.createInsecure());
  try {
    return await new Promise<string>((resolve, reject) => {
      const deadline = Date.now() + timeoutMs;
      client['check']?.({ service: '' }, { deadline }, (error: grpc.ServiceError | null, reply: unknown) => {
        if (error === null) resolve((reply as { readonly status: string }).status);
        else reject(new Error(error.details));
      });
    });
  } finally {
    client.close();
  }
}
