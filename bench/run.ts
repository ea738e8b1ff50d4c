/**
 * What Fairlane costs, against the same Envoy without it: one Envoy process with two listeners that differ in the
 * ext_proc filter alone, the same upstream, the same run, the two alternating. `--json` prints the figures as JSON.
 */
import { startWithAndWithout } from './with-and-without.ts';

const LATENCY_REQUESTS = 1_500;
const CPU_REQUESTS = 4_000;
const STREAMS = 20;
const TOKENS = 400;
const SATURATION_MS = 4_000;
const SATURATION_ROUNDS = 2;
const SATURATION_CLIENTS = 32;

const say = (text: string): void => console.error(text);

const bench = await startWithAndWithout(say);
const once = (port: number, payload: string) => bench.once(port, payload);
const body = (fields: object = {}): string =>
  JSON.stringify({
    model: 'demo',
    messages: [{ role: 'user', content: 'x'.repeat(500) }],
    max_tokens: 1,
    ...fields,
  });
const repeat = async (count: number, clients: number, work: () => Promise<unknown>): Promise<void> => {
  let left = count;
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (left > 0) {
        left -= 1;
        await work();
      }
    }),
  );
};
const quantile = (values: readonly number[], q: number): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
};
const round = (value: number, digits = 3): number => Number(value.toFixed(digits));

try {
  say('warming up …');
  await repeat(1_500, 8, () => once(bench.with, body()));
  await repeat(500, 8, () => once(bench.without, body()));

  say('latency: one request at a time, the two listeners in turn …');
  const with_: number[] = [];
  const without_: number[] = [];
  for (let i = 0; i < LATENCY_REQUESTS; i += 1) {
    with_.push(await once(bench.with, body()));
    without_.push(await once(bench.without, body()));
  }

  say('CPU of the service: requests, then streams …');
  const idle = await bench.serviceCpuMs();
  await repeat(CPU_REQUESTS, 16, () => once(bench.with, body()));
  const afterRequests = await bench.serviceCpuMs();
  const perRequest = (afterRequests - idle) / CPU_REQUESTS;
  await repeat(STREAMS, STREAMS, () => once(bench.with, body({ stream: true, max_tokens: TOKENS })));
  const perChunk = ((await bench.serviceCpuMs()) - afterRequests - STREAMS * perRequest) / (STREAMS * TOKENS);

  say('saturation: 32 clients as fast as they go, the two in turn …');
  let withRate = 0;
  let withoutRate = 0;
  for (let i = 0; i < SATURATION_ROUNDS; i += 1) {
    withRate += (await bench.rate(bench.with, body(), SATURATION_CLIENTS, SATURATION_MS)) / SATURATION_ROUNDS;
    withoutRate +=
      (await bench.rate(bench.without, body(), SATURATION_CLIENTS, SATURATION_MS)) / SATURATION_ROUNDS;
  }

  const figures = {
    latency_p50_vs_envoy: round(quantile(with_, 0.5) / quantile(without_, 0.5)),
    latency_p99_vs_envoy: round(quantile(with_, 0.99) / quantile(without_, 0.99)),
    added_p50_ms: round(quantile(with_, 0.5) - quantile(without_, 0.5)),
    added_p99_ms: round(quantile(with_, 0.99) - quantile(without_, 0.99)),
    service_cpu_us_per_request: round(perRequest * 1_000, 1),
    service_cpu_us_per_chunk: round(perChunk * 1_000, 1),
    saturation_rps_vs_envoy: round(withRate / withoutRate),
    saturation_rps: Math.round(withRate),
    saturation_rps_without: Math.round(withoutRate),
  };
  if (process.argv.includes('--json')) console.log(JSON.stringify(figures));
  else {
    console.log(`
                                with Fairlane   Envoy alone     ratio
latency p50                     ${quantile(with_, 0.5).toFixed(2).padStart(10)} ms ${quantile(without_, 0.5).toFixed(2).padStart(10)} ms ${figures.latency_p50_vs_envoy.toFixed(2).padStart(9)}
latency p99                     ${quantile(with_, 0.99).toFixed(2).padStart(10)} ms ${quantile(without_, 0.99).toFixed(2).padStart(10)} ms ${figures.latency_p99_vs_envoy.toFixed(2).padStart(9)}
requests/s at saturation        ${String(figures.saturation_rps).padStart(10)}    ${String(figures.saturation_rps_without).padStart(10)}    ${figures.saturation_rps_vs_envoy.toFixed(2).padStart(9)}

CPU of the service              ${figures.service_cpu_us_per_request} µs a request, ${figures.service_cpu_us_per_chunk} µs a streamed chunk

How to read this: bench/README.md`);
  }
} finally {
  await bench.close();
}
