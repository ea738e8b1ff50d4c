/**
 * `npm run bench:cpu -- --against PATH`: CPU of the service a request, of this checkout against another one, both built.
 * `--ledger`, `--traces`: this checkout with a ledger, or with traces of all requests, against itself without.
 * One run, the two in turn, a driver that plays Envoy; read the ratios. `--rounds N`, `--requests N` a round and kind;
 * `--json` prints one object.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { answerBody, answerHeaders, CHAT_HEADERS, requestBody } from './ext-proc-client.ts';
import { Checkout, type CheckoutOptions, type Exchange } from './service-cpu/checkout.ts';

const { values } = parseArgs({
  options: {
    against: { type: 'string' },
    ledger: { type: 'boolean', default: false },
    traces: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '7' },
    requests: { type: 'string', default: '2000' },
    json: { type: 'boolean', default: false },
  },
});
const THIS = fileURLToPath(new URL('..', import.meta.url));
const without = [...(values.ledger ? ['a ledger'] : []), ...(values.traces ? ['traces'] : [])];
const against = without.length > 0 ? THIS : values.against;
const other = without.length > 0 ? `itself without ${without.join(' and ')}` : values.against;
const rounds = Number(values.rounds);
const requests = Number(values.requests);
if (against === undefined || !(rounds >= 1) || !(requests >= 1)) {
  console.error(
    'usage: npm run bench:cpu -- --against PATH | --ledger | --traces [--rounds N] [--requests N] [--json]',
  );
  process.exit(2);
}

const CHUNKS = 20;

const say = (text: string): void => console.error(text);
const median = (list: readonly number[]): number => {
  const sorted = [...list].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const [low = Number.NaN, high = low] = sorted.slice(
    sorted.length % 2 === 0 ? middle - 1 : middle,
    middle + 1,
  );
  return (low + high) / 2;
};
const rounded = (value: number): number => Number(value.toPrecision(3));

const chat = (stream: boolean, content: string): object =>
  requestBody(
    JSON.stringify({
      model: 'm',
      max_tokens: 100,
      temperature: 0.7,
      ...(stream && { stream: true, stream_options: { include_usage: true } }),
      messages: [
        { role: 'system', content: 'You are helpful.' },
        { role: 'user', content },
      ],
    }),
  );
const SHORT = 'word '.repeat(80);
/** Prose with line feeds, quotes and some characters that are not ASCII. */
const LONG = 'It was “late”, and the naïve fox said: "No."\n'.repeat(4_400);
const usage = { prompt_tokens: 110, completion_tokens: CHUNKS, total_tokens: 110 + CHUNKS };
const event = (choices: readonly object[], more: object = {}): string =>
  `data: ${JSON.stringify({
    id: 'chatcmpl-0f3b1c5e8d7a4b6c9e2f1a0b3c4d5e6f',
    object: 'chat.completion.chunk',
    created: 1_770_000_000,
    model: 'm',
    choices,
    ...more,
  })}\n\n`;
const token = event([{ index: 0, delta: { content: ' world' }, logprobs: null, finish_reason: null }]);
const END = `${event([{ index: 0, delta: {}, logprobs: null, finish_reason: 'stop' }])}${event([], { usage })}data: [DONE]\n\n`;

const KINDS = ['whole', 'streamed', 'large'] as const;
type Kind = (typeof KINDS)[number];
const TITLES: Readonly<Record<Kind, string>> = {
  whole: 'answer in one piece',
  streamed: `streamed answer, ${CHUNKS} tokens`,
  large: 'prompt of 220 KB, short stream',
};
/** Of the requests of a round: large ones cost as much as many. */
const SHARES: Readonly<Record<Kind, number>> = { whole: 1, streamed: 1, large: 0.25 };

const EXCHANGES: Readonly<Record<Kind, Exchange>> = {
  whole: [
    CHAT_HEADERS,
    chat(false, SHORT),
    answerHeaders('application/json'),
    answerBody(
      JSON.stringify({
        id: 'chatcmpl-1',
        object: 'chat.completion',
        created: 1_770_000_000,
        model: 'm',
        choices: [
          {
            index: 0,
            message: { role: 'assistant', content: 'word '.repeat(CHUNKS) },
            finish_reason: 'stop',
          },
        ],
        usage,
      }),
      true,
    ),
  ],
  streamed: [
    CHAT_HEADERS,
    chat(true, SHORT),
    answerHeaders('text/event-stream; charset=utf-8'),
    ...Array.from({ length: CHUNKS }, () => answerBody(token, false)),
    answerBody(END, true),
  ],
  large: [
    CHAT_HEADERS,
    chat(true, LONG),
    answerHeaders('text/event-stream; charset=utf-8'),
    answerBody(END, true),
  ],
};
const countOf = (kind: Kind): number => Math.ceil(requests * SHARES[kind]);

// Says that it is healthy, and gives no gauges: the concurrency limit is fixed.
const engine = createServer((_, response) => response.end('{}'));
await new Promise<void>((resolve) => engine.listen(0, '127.0.0.1', resolve));
const engineUrl = `http://127.0.0.1:${(engine.address() as AddressInfo).port}`;

// Takes every span, in this process: what it costs is not counted.
const collector = createServer((request, response) => {
  request.resume().on('end', () => response.end());
});
await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve));
const collectorUrl = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;

const started: Checkout[] = [];
try {
  const start = async (root: string, options?: CheckoutOptions): Promise<Checkout> => {
    const checkout = await Checkout.start(root, engineUrl, options);
    started.push(checkout);
    return checkout;
  };
  const ours = await start(THIS, {
    hasLedger: values.ledger,
    ...(values.traces && { collector: collectorUrl }),
  });
  const theirs = await start(against);
  say('warming up');
  for (const checkout of [ours, theirs]) {
    for (const kind of KINDS) await checkout.run(EXCHANGES[kind], countOf(kind));
  }
  const seen: Readonly<Record<Kind, [number, number][]>> = { whole: [], streamed: [], large: [] };
  for (let round = 0; round < rounds; round += 1) {
    say(`round ${round + 1} of ${rounds}`);
    for (const kind of KINDS) {
      const exchange = EXCHANGES[kind];
      // Who is first changes: a machine that gets slower or faster then favours nobody.
      const first = round % 2 === 0 ? ours : theirs;
      const firstUs = await first.measure(exchange, countOf(kind));
      const secondUs = await (first === ours ? theirs : ours).measure(exchange, countOf(kind));
      seen[kind].push(first === ours ? [firstUs, secondUs] : [secondUs, firstUs]);
    }
  }
  // What is dropped costs less.
  if (values.traces) say(`spans exported: ${(100 * (await ours.exportedShare())).toFixed(1)} %`);
  const figures = Object.fromEntries(
    KINDS.map((kind) => {
      const ratios = seen[kind].map(([mine, others]) => mine / others);
      return [
        kind,
        {
          us: rounded(median(seen[kind].map(([mine]) => mine))),
          other_us: rounded(median(seen[kind].map(([, others]) => others))),
          ratio: rounded(median(ratios)),
          ratio_range: [rounded(Math.min(...ratios)), rounded(Math.max(...ratios))],
        },
      ] as const;
    }),
  );
  if (values.json) console.log(JSON.stringify(figures));
  else {
    console.log(
      `\nCPU of the service a request, in µs; this checkout ÷ ${other}, median (range of ${rounds} rounds)`,
    );
    for (const kind of KINDS) {
      const row = figures[kind];
      if (row === undefined) continue;
      const ratio = `${row.ratio} (${row.ratio_range.join('–')})`;
      console.log(
        `${TITLES[kind].padEnd(30)} ${String(row.us).padStart(8)} ÷ ${String(row.other_us).padEnd(8)} ${ratio}`,
      );
    }
  }
} finally {
  for (const checkout of started) await checkout.close();
  engine.close();
  collector.close();
}
