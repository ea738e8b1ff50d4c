/** `npm run bench:console [-- ROUNDS]`: CPU of the service a request with the console open, against closed, in turns; read the ratio. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { answerBody, answerHeaders, CHAT_HEADERS, requestBody } from './ext-proc-client.ts';
import { Checkout, type Exchange } from './service-cpu/checkout.ts';

const rounds = Number(process.argv[2] ?? 10);
const REQUESTS = 3_000;
const TOKENS = 20;
const TOKEN = 'data: {"choices":[{"index":0,"delta":{"content":" world"}}]}\n\n';
const END =
  'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":20,"total_tokens":29}}\n\ndata: [DONE]\n\n';
const EXCHANGE: Exchange = [
  CHAT_HEADERS,
  requestBody(JSON.stringify({ model: 'm', stream: true, messages: [{ role: 'user', content: 'hello' }] })),
  answerHeaders('text/event-stream'),
  ...Array.from({ length: TOKENS }, () => answerBody(TOKEN, false)),
  answerBody(END, true),
];

const engine = createServer((_, response) => response.end('{}'));
await new Promise<void>((resolve) => engine.listen(0, '127.0.0.1', resolve));
const root = fileURLToPath(new URL('..', import.meta.url));
const checkout = await Checkout.start(root, `http://127.0.0.1:${(engine.address() as AddressInfo).port}`);

const measureOpen = async (): Promise<number> => {
  const looking = new AbortController();
  const { body } = await fetch(`${checkout.metricsUrl}/console/events`, { signal: looking.signal });
  const reading = body?.pipeTo(new WritableStream()).catch(() => undefined);
  const micros = await checkout.measure(EXCHANGE, REQUESTS);
  looking.abort();
  await reading;
  return micros;
};

try {
  for (let at = 0; at < 3; at += 1) await checkout.run(EXCHANGE, REQUESTS);
  const ratios: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const early = round % 2 === 0 ? await measureOpen() : undefined;
    const closed = await checkout.measure(EXCHANGE, REQUESTS);
    ratios.push((early ?? (await measureOpen())) / closed);
  }
  ratios.sort((a, b) => a - b);
  const [low, middle, high] = [ratios[0], ratios[ratios.length >> 1], ratios.at(-1)];
  console.log(
    `open ÷ closed: ${middle?.toFixed(3)} (${low?.toFixed(3)}–${high?.toFixed(3)}, ${rounds} rounds)`,
  );
} finally {
  await checkout.close();
  engine.close();
}
