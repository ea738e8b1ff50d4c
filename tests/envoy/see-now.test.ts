/** What runs, seen by the commands: a real service under load, and a terminal. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type StatusReport, statusSchema } from '../../src/admin/status.ts';
import { textWidth } from '../../src/domain/text-width.ts';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { chatBody, type OpenStream, openStream, send } from '../support/client.ts';
import { eventually } from '../support/eventually.ts';
import { onTerminal, type Terminal } from '../support/pty.ts';
import { fairlaneProgram, runCli } from '../support/serve.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';

const LONG = 'w'.repeat(64);
const LONG_KEY = 'key-of-the-long-one';

let engine: Simulator;
let stack: Stack;
let streams: readonly OpenStream[];

beforeAll(async () => {
  engine = await startSimulator({ profile: parseProfile('test', { stepBaseMs: 50 }), models: ['demo'] });
  stack = await startStack({
    engines: [engine.url],
    change: (config) => {
      config['pools'].main.concurrencyLimit = 2;
      config['queue'] = { maxWait: '120s' };
      config['lanes'] = { fast: { when: [{ tenants: ['quiet'] }] }, rest: {} };
      const limits = { requestsPerMinute: 6, tokensPerMonth: 1_000_000, weight: 2 };
      config['tenants'].noisy = { keys: [KEYS.noisy], limits };
      config['tenants'][LONG] = { keys: [LONG_KEY] };
      config['aliases'] = { 'gpt-4o': 'demo' };
    },
  });
  await send(stack.url, { key: KEYS.quiet, body: chatBody({ stream: true }) });
  const long = chatBody({ stream: true, max_tokens: 4_000, ignore_eos: true });
  // Two run; who comes then waits.
  const running = [KEYS.noisy, KEYS.noisy].map((key) => openStream(stack.url, { key, body: long }));
  streams = await Promise.all(running);
  for (const key of [KEYS.noisy, KEYS.noisy, KEYS.noisy, LONG_KEY]) {
    void openStream(stack.url, { key, body: long }).then(
      (stream) => stream.done.catch(() => undefined),
      () => undefined,
    );
  }
  await eventually(
    () => read(),
    ({ totals }) => totals.waiting === 4,
    20_000,
  );
}, 120_000);
afterAll(async () => {
  await stack.close();
  await Promise.allSettled(streams.map(({ done }) => done));
  await engine.close();
});

const read = async (query = ''): Promise<StatusReport> =>
  statusSchema.parse(await (await fetch(`${stack.metricsUrl}/status${query}`)).json());
const tenantOf = (report: StatusReport, name: string) => report.tenants.rows.find((one) => one.name === name);
const cli = async (...args: readonly string[]) => {
  const run = runCli([...args, '--config', stack.configPath], { ...process.env, NO_COLOR: '' });
  return { code: await run.exited, stdout: run.stdout(), stderr: run.stderr() };
};

describe('the status', () => {
  it('of a service under load has who runs, who waits and what is left', async () => {
    const report = await read('?models=on&idle=on');
    const [pool] = report.pools;
    expect(pool).toMatchObject({
      name: 'main',
      serving: 1,
      sequences: 2,
      concurrencyLimit: 2,
      waiting: 4,
      saturation: 1,
    });
    expect(pool?.endpoints[0]).toMatchObject({
      serving: true,
      sequences: 2,
      limitBy: 'fixed',
      engine: 'vllm',
    });
    expect(report.queue.rows.map(({ tenant, lane, waiting }) => [tenant, lane, waiting])).toEqual([
      ['noisy', 'rest', 3],
      [LONG, 'rest', 1],
    ]);
    expect(tenantOf(report, 'noisy')).toMatchObject({
      inFlight: 2,
      waiting: 3,
      weight: 2,
      requests: { limit: 6 },
      month: { limit: 1_000_000 },
    });
    expect(tenantOf(report, 'noisy')?.requests?.left).toBeLessThan(6);
    expect(tenantOf(report, 'noisy')?.month?.left).toBeLessThan(1_000_000);
    expect(tenantOf(report, 'quiet')?.ttftP99Ms).toBeGreaterThan(0);
    expect(report.models?.find(({ name }) => name === 'demo')).toMatchObject({
      pool: 'main',
      aliases: ['gpt-4o'],
    });
  });

  it('says the same as the metrics', async () => {
    const { pools } = await read();
    expect(await stack.metric('fairlane_pool_queued')).toBe(pools[0]?.waiting);
    expect(await stack.metric('fairlane_tenant_in_flight', { tenant: 'noisy' })).toBe(2);
  });

  it('is printed by the commands', async () => {
    const [page, json, models, tenants, once] = await Promise.all([
      cli('status'),
      cli('status', '--json'),
      cli('models'),
      cli('tenants', '--json'),
      cli('top', '--once', '--json'),
    ]);
    expect(page).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringMatching(/^main +1\/1 +2 +2 +\d+ +4 +100$/m),
    });
    expect(page.stdout).not.toContain('\u001b');
    expect(statusSchema.parse(JSON.parse(json.stdout)).totals.waiting).toBe(4);
    expect(statusSchema.parse(JSON.parse(once.stdout)).tenants.rows[0]?.name).toBe('noisy');
    expect(models.stdout).toMatch(/^demo +configured +main +[\d,]+ +also gpt-4o$/m);
    const { rows } = JSON.parse(tenants.stdout) as { readonly rows: readonly { readonly name: string }[] };
    expect(rows.map(({ name }) => name)).toEqual(['noisy', 'quiet', LONG]);
  });

  it('where there is no service, each command says so and fails', async () => {
    for (const command of ['status', 'top', 'models', 'tenants']) {
      const run = runCli([command, '--address', '127.0.0.1:1']);
      expect(await run.exited).toBe(1);
      expect(run.stderr()).toMatch(/^fairlane: no service answers on 127\.0\.0\.1:1 /);
    }
  });
});

const SHOWN_CURSOR = '\u001b[?25h';
const LEFT_SCREEN = '\u001b[?1049l';
const HOME = '\u001b[H';

/** The last whole picture, without colours. */
function picture(output: string): readonly string[] {
  const frames = output.split(HOME).filter((frame) => frame.endsWith('\u001b[J'));
  // oxlint-disable-next-line no-control-regex -- what is looked for
  const plain = (frames.at(-1) ?? '').replaceAll(/\u001b\[[0-9;?]*[A-Za-z]/g, '');
  return plain.split(/\r+\n/);
}

describe('fairlane top on a terminal', () => {
  const top = (columns: number, rows: number, metricsUrl = stack.metricsUrl): Terminal => {
    const address = new URL(metricsUrl).host;
    const program = [process.execPath, ...fairlaneProgram(), 'top', '--address', address];
    return onTerminal(columns, rows, program, { ...process.env, TERM: 'xterm' });
  };

  it('of 80 × 24 never wraps, sorts by keys, follows its size, and gives the terminal back at q', async () => {
    const terminal = top(80, 24);
    const first = picture(await terminal.until('[w waiting]'));
    expect(first).toHaveLength(24);
    for (const line of first) expect(textWidth(line)).toBeLessThanOrEqual(80);
    expect(first.findIndex((line) => line.startsWith('noisy'))).toBeLessThan(
      first.findIndex((line) => line.startsWith('www')),
    );
    await terminal.clear();
    await terminal.type('n');
    const byName = picture(await terminal.until('[n name]'));
    expect(byName.join('\n')).toContain('TENANT');
    await terminal.clear();
    await terminal.resize(40, 10);
    let small = picture(await terminal.until('\u001b[J'));
    if (small.length > 10) {
      // One of the old size was under way.
      await terminal.clear();
      small = picture(await terminal.until('\u001b[J'));
    }
    expect(small.length).toBeLessThanOrEqual(10);
    for (const line of small) expect(textWidth(line)).toBeLessThanOrEqual(40);
    await terminal.type('q');
    const { code, output, same } = await terminal.end();
    expect({ code, same }).toEqual({ code: 0, same: true });
    expect(output.endsWith(`\u001b[?7h${SHOWN_CURSOR}${LEFT_SCREEN}`)).toBe(true);
  });

  it.each(['TERM', 'INT', 'HUP'] as const)('gives the terminal back at SIG%s', async (name) => {
    const terminal = top(80, 24);
    await terminal.until('[w waiting]');
    await terminal.signal(name);
    const { code, output, same } = await terminal.end();
    expect({ code, same }).toEqual({ code: 0, same: true });
    expect(output).toContain(`${SHOWN_CURSOR}${LEFT_SCREEN}`);
  });

  it('ends at Ctrl-C, and where the terminal is closed', async () => {
    const terminal = top(80, 24);
    await terminal.until('[w waiting]');
    await terminal.type('\u0003');
    expect(await terminal.end()).toMatchObject({ code: 0, same: true });
    const closed = top(80, 24);
    await closed.until('[w waiting]');
    await closed.hangUp();
    expect((await closed.end()).code).not.toBeNull();
  });

  it('gives the terminal back after a crash, and then says what is wrong', async () => {
    const crash = "setTimeout(() => { throw new Error('made by the test') }, 2500)";
    const program = [process.execPath, '--import', `data:text/javascript,${encodeURIComponent(crash)}`];
    const address = new URL(stack.metricsUrl).host;
    const terminal = onTerminal(80, 24, [...program, ...fairlaneProgram(), 'top', '--address', address]);
    const { code, output, same } = await terminal.end();
    expect({ code, same }).toEqual({ code: 1, same: true });
    expect(output.indexOf('made by the test')).toBeGreaterThan(output.indexOf(LEFT_SCREEN));
  });

  it('says since when there is no answer, and goes on when there is one', async () => {
    const proxied = await startStack({ engines: [engine.url] });
    try {
      const terminal = top(80, 24, proxied.metricsUrl);
      await terminal.until('[w waiting]');
      await proxied.service().drain();
      // A busy machine leaves out a picture, and with it a second.
      const away = await terminal.until(' s: no service answers');
      expect(away).toMatch(/no answer since \d+ s: no service answers/);
      await proxied.restartService();
      await terminal.clear();
      await eventually(
        async () => {
          await terminal.clear();
          return picture(await terminal.until('\u001b[J')).join('\n');
        },
        (text) => !text.includes('no answer'),
      );
      await terminal.type('q');
      expect(await terminal.end()).toMatchObject({ code: 0, same: true });
    } finally {
      await proxied.close();
    }
  });

  it('elsewhere prints one picture and ends', async () => {
    const run = runCli(['top', '--config', stack.configPath]);
    expect(await run.exited).toBe(0);
    expect(run.stdout()).toMatch(/^noisy +/m);
    expect(run.stdout()).not.toContain('\u001b');
  });
});
