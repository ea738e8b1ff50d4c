/** TLS with clients, through a real Envoy: versions, HTTP/2, client certificates, and renewals under an open stream. */
import { spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type ConnectionOptions, connect } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ConfigWatch, watchConfig } from '../../src/config/fs-config.ts';
import { createSelfSigned } from '../../src/grpc/self-signed.ts';
import { chatBody, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { freePorts } from '../support/ports.ts';
import { answerChat, type ReadyStack, startReadyStack } from '../support/ready-engine.ts';
import { KEYS, type Stack } from '../support/stack.ts';

const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/tls/${name}.pem`, import.meta.url));
const text = (name: string): string => readFileSync(fixture(name), 'utf8');
/** Both authorities: a client does not care which one has signed. */
const ca = [text('ca'), text('second-ca')];
const fingerprint = (name: string): string => new X509Certificate(text(name)).fingerprint256;

let ready: ReadyStack;
let stack: Stack;
let folder: string;
let watch: ConfigWatch;
let [tlsPort, mutualPort]: (number | undefined)[] = [];
/** Continues the answer of a chat that streams. */
let goOn: (() => void) | undefined;

/** Files as Kubernetes has them: links to a link to a folder, of which the link in the middle is swapped. */
function place(version: string, cert: string, key: string): void {
  const data = join(folder, `..${version}`);
  mkdirSync(data);
  copyFileSync(fixture(cert), join(data, 'tls.crt'));
  copyFileSync(fixture(key), join(data, 'tls.key'));
  symlinkSync(`..${version}`, join(folder, '..data.new'));
  renameSync(join(folder, '..data.new'), join(folder, '..data'));
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'fairlane-tls-'));
  place('1', 'server', 'key');
  for (const name of ['tls.crt', 'tls.key']) symlinkSync(`..data/${name}`, join(folder, name));
  [tlsPort, mutualPort] = await freePorts(2);
  const tls = { cert: join(folder, 'tls.crt'), key: join(folder, 'tls.key') };
  ready = await startReadyStack(
    (request, response) => {
      let body = '';
      request.on('data', (part: Buffer) => {
        body += part.toString();
      });
      request.on('end', () => {
        if (!body.includes('"stream":true')) return answerChat(response);
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write('data: {"choices":[{"delta":{"content":"first"}}]}\n\n');
        goOn = () => response.end('data: {"choices":[{"delta":{"content":"last"}}]}\n\ndata: [DONE]\n\n');
      });
    },
    (config) => {
      config['listen'] = [
        config['listen'],
        { address: `127.0.0.1:${tlsPort}`, tls },
        { address: `127.0.0.1:${mutualPort}`, tls: { ...tls, clientCa: fixture('ca') } },
      ];
    },
  );
  stack = ready.stack;
  watch = watchConfig({
    path: stack.configPath,
    env: process.env,
    onChange: (config, warnings) => void stack.service().reload(config, warnings),
    onBad: (problems) => stack.service().refuseReload(problems),
  });
});
afterAll(async () => {
  watch.close();
  await ready.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A chat over TLS. Rejects where there is no answer. */
function ask(port: number | undefined, options: RequestOptions = {}, body = chatBody()) {
  return new Promise<{ readonly status: number; readonly text: string }>((resolve, reject) => {
    const outgoing = httpsRequest(
      {
        host: '127.0.0.1',
        port,
        method: 'POST',
        path: '/v1/chat/completions',
        agent: false,
        ca,
        headers: { authorization: `Bearer ${KEYS.quiet}`, 'content-type': 'application/json' },
        ...options,
      },
      (incoming) => {
        let answer = '';
        incoming.on('data', (chunk: Buffer) => {
          answer += chunk.toString();
        });
        incoming.on('error', reject);
        incoming.on('end', () => resolve({ status: incoming.statusCode ?? 0, text: answer }));
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** What the handshake ends in: the version and certificate, or an error's code. */
function shake(port: number | undefined, options: ConnectionOptions = {}): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port: port ?? 0, ca, ...options }, () => {
      resolve(`${socket.getProtocol()} ${socket.getPeerCertificate().fingerprint256}`);
      socket.destroy();
    });
    socket.on('error', (error) => resolve(String('code' in error ? error.code : error)));
  });
}
const shownCertificate = (): Promise<string | undefined> =>
  shake(tlsPort).then((shaken) => shaken.split(' ')[1]);

describe('a listener with TLS', () => {
  it('serves beside one without', async () => {
    expect((await ask(tlsPort)).status).toBe(200);
    expect((await send(stack.url, { key: KEYS.quiet, body: chatBody() })).status).toBe(200);
    await expect(
      send(`http://127.0.0.1:${tlsPort}`, { key: KEYS.quiet, body: chatBody() }),
    ).rejects.toThrow();
    expect((await ask(tlsPort, { headers: { authorization: 'Bearer wrong' } })).status).toBe(401);
  });

  it('speaks TLS from 1.2 on', async () => {
    const old = { maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
    expect(await shake(tlsPort, old)).toMatch(/ALERT_PROTOCOL_VERSION/);
    expect(await shake(tlsPort, { maxVersion: 'TLSv1.2' })).toMatch(/^TLSv1\.2 /);
    expect(await shake(tlsPort)).toMatch(/^TLSv1\.3 /);
  });

  it('speaks HTTP/2 by ALPN', async () => {
    const session = connectHttp2(`https://127.0.0.1:${tlsPort}`, { ca });
    const status = await new Promise((resolve, reject) => {
      const stream = session.request({
        ':method': 'POST',
        ':path': '/v1/chat/completions',
        authorization: `Bearer ${KEYS.quiet}`,
        'content-type': 'application/json',
      });
      stream.on('response', (headers) => resolve(headers[':status']));
      stream.on('error', reject);
      stream.end(chatBody());
    });
    expect(session.alpnProtocol).toBe('h2');
    expect(status).toBe(200);
    session.destroy();
  });

  it('serves the openai client, which knows the private authority by NODE_EXTRA_CA_CERTS', async () => {
    const program = `import OpenAI from 'openai';
const client = new OpenAI({ apiKey: '${KEYS.quiet}', baseURL: 'https://localhost:${tlsPort}/v1', maxRetries: 0 });
const answer = await client.chat.completions.create({ model: 'demo', messages: [{ role: 'user', content: 'hi' }] });
console.log(answer.choices[0].message.content);`;
    const run = (env: NodeJS.ProcessEnv) =>
      new Promise<string>((resolve) => {
        const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
          env: { ...process.env, ...env },
          cwd: dirname(fileURLToPath(import.meta.url)),
        });
        let said = '';
        for (const stream of [child.stdout, child.stderr])
          stream.on('data', (part: Buffer) => (said += part));
        child.on('close', () => resolve(said));
      });
    expect((await run({ NODE_EXTRA_CA_CERTS: fixture('ca') })).trim()).toBe('x');
    expect(await run({ NODE_EXTRA_CA_CERTS: '' })).toMatch(/unable to verify|UNABLE_TO_VERIFY/);
  });
});

it('the admin page shows no private key', async () => {
  const dump = await (await fetch(`${stack.adminUrl}/config_dump`)).text();
  expect(dump).toContain('certificate-127-0-0-1');
  expect(dump).not.toContain('PRIVATE KEY');
  const [, secret = ''] = text('key').split('\n');
  expect(dump).not.toContain(secret);
  expect(dump).not.toContain(Buffer.from(text('key')).toString('base64').slice(0, 60));
});

describe('client certificates', () => {
  it('are required, from the authority, besides a key', async () => {
    const mine = { cert: text('client'), key: text('key') };
    await expect(ask(mutualPort)).rejects.toThrow();
    await expect(ask(mutualPort, { cert: text('renewed'), key: text('renewed-key') })).rejects.toThrow();
    expect((await ask(mutualPort, mine)).status).toBe(200);
    expect((await ask(mutualPort, { ...mine, headers: {} })).status).toBe(401);
  });

  const stranger = createSelfSigned('Fairlane test authority', Date.now());
  it.each([
    [
      'by another authority, which is shown too',
      `${text('renewed')}${text('second-ca')}`,
      text('renewed-key'),
    ],
    [
      'by another authority, beside a good one',
      `${text('renewed')}${text('client')}${text('ca')}`,
      text('renewed-key'),
    ],
    ['by itself, by the name of the authority', stranger.cert, stranger.key],
    ['long ago', text('expired'), text('renewed-key')],
  ])('that were signed %s get no answer, with a key that is good', async (_, cert, key) => {
    const failed = async (): Promise<number> => {
      const stats = await (await fetch(`${stack.adminUrl}/stats?filter=fail_verify`)).text();
      return [...stats.matchAll(/fail_verify_\w+: (\d+)/g)].reduce(
        (sum, [, count]) => sum + Number(count),
        0,
      );
    };
    const before = await failed();
    for (const maxVersion of ['TLSv1.3', 'TLSv1.2'] as const) {
      await expect(ask(mutualPort, { cert, key, maxVersion })).rejects.toThrow();
    }
    expect(await failed()).toBe(before + 2);
  });
});

describe('a renewal', () => {
  it('is for the next connection; an open stream goes on, and a bad one changes nothing', async () => {
    expect(await shownCertificate()).toBe(fingerprint('server'));
    const streaming = ask(tlsPort, {}, chatBody({ stream: true }));
    await eventually(
      () => goOn !== undefined,
      (begun) => begun,
    );

    // A certificate with another key, as when only one of two files is renewed.
    place('2', 'renewed', 'key');
    await eventually(
      () => stack.logText(),
      (log) => log.includes('is not the key of the first certificate in cert'),
    );
    expect(await shownCertificate()).toBe(fingerprint('server'));

    place('3', 'renewed', 'renewed-key');
    await eventually(shownCertificate, (shown) => shown === fingerprint('renewed'));
    expect((await ask(tlsPort)).status).toBe(200);

    goOn?.();
    expect((await streaming).text).toContain('last');
    expect((await streaming).text).toContain('[DONE]');
    expect(stack.logText()).not.toContain('PRIVATE KEY');
  });
});
