/** An engine that costs nothing: what is measured is the way to it. Chat answers at once, streams as asked. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

const json = Buffer.from(
  JSON.stringify({
    id: 'chatcmpl-1',
    object: 'chat.completion',
    created: 0,
    model: 'demo',
    choices: [{ index: 0, message: { role: 'assistant', content: 'ok' }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 10, completion_tokens: 1, total_tokens: 11 },
  }),
);
const chunk = (choices: readonly object[], extra: object = {}): string =>
  `data: ${JSON.stringify({ id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 0, model: 'demo', choices, ...extra })}\n\n`;
const token = chunk([{ index: 0, delta: { content: ' token' }, logprobs: null, finish_reason: null }]);
const last =
  chunk([{ index: 0, delta: {}, logprobs: null, finish_reason: 'stop' }]) +
  chunk([], { usage: { prompt_tokens: 10, completion_tokens: 1, total_tokens: 11 } }) +
  'data: [DONE]\n\n';

const server = createServer((request, response) => {
  let body = '';
  request.setEncoding('utf8');
  request.on('data', (part: string) => {
    body += part;
  });
  request.on('end', () => {
    if (!body.includes('"stream":true')) {
      response
        .writeHead(200, { 'content-type': 'application/json', 'content-length': json.length })
        .end(json);
      return;
    }
    const tokens = Number(/"max_tokens":(\d+)/.exec(body)?.[1] ?? 1);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(chunk([{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: null }]));
    let sent = 0;
    // A token each 5 ms: every one is a chunk of its own on its whole way.
    const timer = setInterval(() => {
      response.write(token);
      sent += 1;
      if (sent < tokens) return;
      clearInterval(timer);
      response.end(last);
    }, 5);
    response.on('close', () => clearInterval(timer));
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => {
  process.send?.({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
});
process.on('disconnect', () => process.exit(0));
