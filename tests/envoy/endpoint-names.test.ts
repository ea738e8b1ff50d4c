/** An endpoint has one name, its URL as configured, wherever it is shown; its address stands beside. */
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type StatusReport, statusSchema } from '../../src/admin/status.ts';
import { ledgerRowOf } from '../../src/ledger/row-of.ts';
import type { UsageRecord } from '../../src/usage/usage-record.ts';
import { chatBody } from '../support/client.ts';
import { type RecordingEngine, startRecordingEngine } from '../support/recording-engine.ts';
import { runCli } from '../support/serve.ts';
import { type Stack, startStack, untilServed } from '../support/stack.ts';

let engine: RecordingEngine;
let stack: Stack;
/** As the operator wrote it, and as the pool is told. */
let written: string;
let name: string;
let address: string;

beforeAll(async () => {
  engine = await startRecordingEngine(['demo']);
  const { port } = new URL(engine.url);
  address = `127.0.0.1:${port}`;
  written = `http://LOCALHOST:${port}/v1`;
  name = `http://localhost:${port}`;
  stack = await startStack({ engines: [written] });
  await untilServed(stack.url);
});
afterAll(async () => {
  await stack.close();
  await engine.close();
});

const page = async (path: string): Promise<string> => (await fetch(`${stack.metricsUrl}${path}`)).text();
const status = async (): Promise<StatusReport> => statusSchema.parse(JSON.parse(await page('/status')));
const run = async (...args: readonly string[]): Promise<string> => {
  const cli = runCli([...args, '--config', stack.configPath]);
  if ((await cli.exited) !== 0) throw new Error(cli.stderr());
  return cli.stdout();
};

describe('the name of an endpoint', () => {
  it('is on each series of it, with its address', async () => {
    const text = await page('/metrics');
    const rows = text.split('\n').filter((line) => /^fairlane_(endpoint|engine)_.*[{,]endpoint="/.test(line));
    expect(rows.length).toBeGreaterThan(5);
    for (const row of rows) expect(row).toContain(`endpoint="${name}",address="${address}"`);
  });

  it('is on /status, /health and what the commands print', async () => {
    expect((await status()).pools[0]?.endpoints).toMatchObject([{ name, address }]);
    expect(JSON.parse(await page('/health'))).toMatchObject({
      pools: { main: { windows: { [name]: { state: expect.stringContaining('healthy') } } } },
    });
    expect(await run('status')).toContain(name.replace('http://', ''));
  });

  it('is in the usage record, the log line, and the row of the ledger', async () => {
    const record = stack.records().find((one) => one['status'] === 200) as unknown as UsageRecord;
    expect(record).toMatchObject({ endpoint: name, address });
    expect(ledgerRowOf({ ...record, droppedFields: [] }, 0).endpoint).toBe(name);
  });

  it('is in events', async () => {
    const events = stack
      .logText()
      .split('\n')
      .filter((line) => line.includes('"endpoint":') && !line.includes('"message":"request"'))
      .map((line) => JSON.parse(line));
    expect(events.map(({ message }) => message)).toContain('endpoint-health');
    for (const event of events) expect(event.endpoint).toBe(name);
  });

  it('is in the console’s line of a request', async () => {
    const response = await fetch(`${stack.metricsUrl}/console/events`);
    let heard = '';
    for await (const piece of (response.body ?? new ReadableStream()).pipeThrough(new TextDecoderStream())) {
      heard += piece;
      if (/^event: requests\ndata: .*\n\n/m.test(heard)) break;
    }
    const [, data = '{}'] = /^event: requests\ndata: (.*)$/m.exec(heard) ?? [];
    const endpoints = JSON.parse(data).requests.map(({ endpoint }: UsageRecord) => endpoint);
    expect(new Set(endpoints.filter((one: unknown) => one !== undefined))).toEqual(new Set([name]));
  });

  it('is what explain says, and what drain takes', async () => {
    const headers = { 'content-type': 'application/json', 'x-fairlane-command': 'test' };
    const question = { tenant: 'quiet', path: '/v1/chat/completions', body: chatBody() };
    const asked = await fetch(`${stack.metricsUrl}/explain`, {
      method: 'POST',
      headers,
      body: JSON.stringify(question),
    });
    const choice = { chosen: address, endpoint: name, endpoints: [{ endpoint: name, address }] };
    expect(await asked.json()).toMatchObject({ queue: { choice } });
    await run('drain', name);
    expect((await status()).pools[0]?.endpoints[0]?.draining).toBe(true);
    await run('drain', name, '--undo');
  });

  it('may not have a secret: such a URL is refused, and not repeated', async () => {
    const path = `${stack.configPath}.wrong.yaml`;
    writeFileSync(
      path,
      'pools: { main: { endpoints: ["http://me:sesame@127.0.0.1:1"] } }\ntenants: { a: { keys: [long-enough-key] } }\n',
    );
    const check = runCli(['check-config', path]);
    expect(await check.exited).toBe(1);
    expect(check.stdout() + check.stderr()).toContain('credentials');
    expect(check.stdout() + check.stderr()).not.toContain('sesame');
  });
});
