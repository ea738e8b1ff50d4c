/** A sidecar's Envoy that speaks TLS to the service: to the certificate that is configured, and to no other. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import * as http2 from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Config } from '../../src/config/config.ts';
import { SERVICE_CLUSTER } from '../../src/domain/names.ts';
import { type Service, startService } from '../../src/service/service.ts';
import { createLog } from '../../src/telemetry/pino-log.ts';
import { createAuthority } from '../support/certificates.ts';
import { chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';
import { answerChat, envoyStat, type ReadyStack, startReadyStack } from '../support/ready-engine.ts';
import { KEYS, type Stack } from '../support/stack.ts';

/** Nobody is told of it. */
const authority = createAuthority('an authority');
let folder: string;
let port: number;
let ready: ReadyStack;
let stack: Stack;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'fairlane-service-tls-'));
  [port = 0] = await freePorts(1);
  const { cert, key } = authority.issue(['any.name']);
  writeFileSync(join(folder, 'tls.crt'), cert);
  writeFileSync(join(folder, 'tls.key'), key);
  ready = await startReadyStack(
    (_request, response) => answerChat(response),
    (config) => {
      config['envoy']['failureMode'] = 'closed';
      config['service']['address'] = `127.0.0.1:${port}`;
      config['service']['tls'] = { cert: join(folder, 'tls.crt'), key: join(folder, 'tls.key') };
    },
  );
  stack = ready.stack;
});
afterAll(async () => {
  await ready.close();
  rmSync(folder, { recursive: true, force: true });
});

const ask = async (): Promise<number> =>
  (await send(stack.url, { key: KEYS.quiet, body: chatBody() })).status;

it('serves over TLS, and tells nothing but health in plain text', async () => {
  expect(await ask()).toBe(200);
  expect(await envoyStat(stack, `cluster.${SERVICE_CLUSTER}.ssl.handshake`)).toBeGreaterThan(0);
  const client = http2.connect(`http://127.0.0.1:${port}`);
  const stream = client.request({
    ':method': 'POST',
    ':path': '/envoy.service.ext_proc.v3.ExternalProcessor/Process',
    'content-type': 'application/grpc',
  });
  const status = await new Promise((resolve) =>
    stream.on('response', (headers) => resolve(headers['grpc-status'])),
  );
  client.destroy();
  expect(status).toBe('12');
});

it('takes the next certificate, and nobody else’s', async () => {
  const next: Config = { ...stack.config, service: { ...stack.config.service, tls: authority.issue(['b']) } };
  await stack.service().reload(next, []);
  expect(await ask()).toBe(200);
  await stack.service().drain();
  const again: Service = await startService(next, createLog('error', { write: () => undefined }));
  await eventually(ask, (status) => status === 200);
  expect(await envoyStat(stack, `cluster.${SERVICE_CLUSTER}.ssl.fail_verify_cert_hash`)).toBe(0);
  await again.drain();

  let connections = 0;
  const impostor = createTlsServer({ ...authority.issue(['any.name']), ALPNProtocols: ['h2'] });
  impostor.on('secureConnection', () => {
    connections += 1;
  });
  impostor.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => impostor.listen(port, '127.0.0.1', resolve));
  await eventually(
    async () => {
      expect(await ask()).not.toBe(200);
      return envoyStat(stack, `cluster.${SERVICE_CLUSTER}.ssl.fail_verify_cert_hash`);
    },
    (failed) => failed > 0,
  );
  expect(connections).toBe(0);
  impostor.close();
});
