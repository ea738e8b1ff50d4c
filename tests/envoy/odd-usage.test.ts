/** An engine that counts nonsense for one tenant, and what that changes for another. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chatBody, send } from '../support/client.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

let engine: Server;
let stack: Stack;

/** Prompt tokens that it reports: what the prompt says, else a token for four bytes. */
function usageOf(body: string): { readonly prompt_tokens: number; readonly completion_tokens: number } {
  const said = /tokens=(\d+)/.exec(body)?.[1];
  const content = /"content":"([^"]*)"/.exec(body)?.[1] ?? '';
  return {
    prompt_tokens: said === undefined ? Math.ceil(content.length / 4) : Number(said),
    completion_tokens: 1,
  };
}

beforeAll(async () => {
  engine = createServer((request, response) => {
    let body = '';
    request.on('data', (part: Buffer) => {
      body += part.toString();
    });
    request.on('end', () => {
      if (request.method === 'GET') response.writeHead(request.url === '/health' ? 200 : 404).end();
      else {
        const answer = JSON.stringify({ choices: [], usage: usageOf(body) });
        response.writeHead(200, { 'content-type': 'application/json' }).end(answer);
      }
    });
  });
  await new Promise<void>((resolve) => engine.listen(0, '127.0.0.1', resolve));
  stack = await startStack({
    engines: [`http://127.0.0.1:${(engine.address() as AddressInfo).port}`],
    change(config) {
      config['tenants']['quiet']['limits'] = { maxContext: 1_000 };
    },
  });
});
afterAll(async () => {
  await stack.close();
  engine.closeAllConnections();
  engine.close();
});

const ask = async (key: string, content: string): Promise<number> => {
  const messages = [{ role: 'user', content }];
  return (await send(stack.url, { key, body: chatBody({ messages, max_tokens: 1 }) })).status;
};
/** Whether a prompt of so many tokens, at four bytes each, is within the quiet tenant's context. */
const fits = async (tokens: number): Promise<boolean> =>
  (await ask(KEYS.quiet, 'word'.repeat(tokens))) === 200;

describe('odd counts of one tenant', () => {
  it.each([
    ['too many to be true', 'tokens=1000000 hello'],
    ['as many as bytes', `tokens=9000 ${'x'.repeat(9_000)}`],
    ['hardly any', `tokens=1 ${'x'.repeat(60_000)}`],
  ])("%s: change what fits into another tenant's context by a tenth at most", async (_, content) => {
    for (let i = 0; i < 30; i += 1) expect(await ask(KEYS.noisy, content)).toBe(200);
    expect(await fits(890)).toBe(true);
    expect(await fits(1_110)).toBe(false);
  });
});
