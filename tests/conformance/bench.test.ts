/** The load generator over real HTTP, and the command as a user types it. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { EndpointConfig } from '../../src/config/config.ts';
import type { HttpArmName, TargetName } from '../../src/loadtest/arms.ts';
import { type Comparison, compare } from '../../src/loadtest/compare.ts';
import { comparisonJson } from '../../src/loadtest/comparison-json.ts';
import type { HttpMeasured } from '../../src/loadtest/http-arm.ts';
import { runHttpArms } from '../../src/loadtest/http-load.ts';
import { parseScenario, type Scenario } from '../../src/loadtest/scenario.ts';
import { httpSchedule } from '../../src/loadtest/schedule.ts';
import { type Simulator, startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { eventually } from '../support/eventually.ts';
import { runCli } from '../support/serve.ts';

const scenarioOf = (text: string): Scenario => {
  const parsed = parseScenario({ text, file: 's.yaml', readFile: () => '' });
  if (parsed.kind === 'bad') throw new Error(parsed.problems.join('\n'));
  return parsed.scenario;
};

/** Two sequences of about 20 tokens at 10 ms: eight requests a second or so. */
const SLOW = { maxSequences: 2, stepBaseMs: 10 };
const OVERLOAD = scenarioOf(`
name: overload
duration: 2500ms
limits: { ttft: 200ms }
bucketPerSecond: 3
ignoreEos: true
tenants:
  quiet: { quiet: true, arrivals: { perSecond: 2 }, prompt: 20, output: 5, key: env:QUIET, sharedPrefix: 8 }
  noisy: { arrivals: { perSecond: 16 }, prompt: { from: 50, to: 80 }, output: 20, key: env:NOISY }
`);
/** More sequences than there are requests: none waits, however slow the machine is. */
const ROOMY = parseProfile('test', { maxSequences: 1_000 });
/** Twenty requests. */
const burstOf = (durationMs: number, atMs: (i: number) => number): Scenario =>
  scenarioOf(`
name: burst
duration: ${durationMs}ms
model: demo
tenants: { alice: { arrivals: { trace: [${Array.from({ length: 20 }, (_, i) => atMs(i)).join(', ')}] }, prompt: 10, output: 3 } }
`);
/** Within 200 ms. */
const BURST = burstOf(300, (i) => i * 10);

const endpointOf = (url: string): EndpointConfig => {
  const { hostname, port } = new URL(url);
  return { url, host: hostname, port: Number(port) };
};

async function run(
  scenario: Scenario,
  targets: Readonly<Partial<Record<TargetName, string>>>,
  arms: readonly HttpArmName[],
  signal: AbortSignal = new AbortController().signal,
): Promise<readonly HttpMeasured[]> {
  const schedule = httpSchedule(scenario);
  if (schedule.kind === 'bad') throw new Error(schedule.problem);
  return runHttpArms({
    scenario,
    schedule,
    arms,
    endpoints: new Map(
      Object.entries(targets).map(([name, url]) => [name as TargetName, endpointOf(url)] as const),
    ),
    keys: new Map([...scenario.keyVariables].map(([tenant, variable]) => [tenant, `key-of-${variable}`])),
    run: 'test',
    signal,
  });
}
const comparisonOf = (scenario: Scenario, measured: readonly HttpMeasured[]): Comparison =>
  compare({ scenario, mode: 'http', measured, remarks: [], targets: new Map(), interrupted: false });

let engine: Simulator;
beforeAll(async () => {
  engine = await startSimulator({ profile: parseProfile('test', SLOW), models: ['demo'], faults: true });
});
afterAll(() => engine.close());
afterEach(() => engine.setFault(undefined));

const servers: Server[] = [];
afterAll(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});
async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
const event = (value: object): string => `data: ${JSON.stringify(value)}\n\n`;
const answer = (response: ServerResponse): void => {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.end(
    [
      event({ choices: [{ index: 0, delta: { role: 'assistant', content: '' } }] }),
      event({ choices: [{ index: 0, delta: { reasoning: 'so' } }] }),
      event({ choices: [{ index: 0, delta: { content: 'one two' } }] }),
      event({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }),
      event({ choices: [], usage: { prompt_tokens: 11, completion_tokens: 3, total_tokens: 14 } }),
      'data: [DONE]\n\n',
    ].join(''),
  );
};

describe('a comparison over HTTP', () => {
  it('sends each arm the same requests, with the tenants’ keys, and measures them', async () => {
    const before = engine.stats().started;
    const measured = await run(OVERLOAD, { direct: engine.url, fairlane: engine.url }, [
      'solo',
      'direct',
      'request-bucket',
      'fairlane',
    ]);
    const comparison = comparisonOf(OVERLOAD, measured);
    const [solo, direct, bucket, fairlane] = comparison.arms;
    const sum = (arm: typeof solo, what: 'requests' | 'completed' | 'refused'): number =>
      arm?.tenants.reduce((total, tenant) => total + tenant[what], 0) ?? 0;

    expect(sum(direct, 'requests')).toBeGreaterThan(20);
    expect(sum(direct, 'completed')).toBe(sum(direct, 'requests'));
    expect(sum(fairlane, 'requests')).toBe(sum(direct, 'requests'));
    expect(sum(bucket, 'requests')).toBe(sum(direct, 'requests'));
    expect(sum(bucket, 'refused')).toBeGreaterThan(0);
    expect(solo?.tenants.map(({ tenant }) => tenant)).toEqual(['quiet']);
    const refused = sum(bucket, 'refused');
    const all = [solo, direct, bucket, fairlane].reduce((total, arm) => total + sum(arm, 'requests'), 0);
    expect(engine.stats().started - before).toBe(all - refused);
    expect(bucket?.tenants.find(({ tenant }) => tenant === 'quiet')?.refused).toBe(0);

    const noisy = direct?.tenants.find(({ tenant }) => tenant === 'noisy');
    expect(noisy?.ttftMs.p99).toBeGreaterThan(noisy?.ttftMs.p50 ?? 0);
    expect(noisy?.itlMs.p50).toBeGreaterThan(5);
    expect(comparison.saturated).toBe('yes');
    expect(comparison.warnings).toEqual([]);

    const tenantOf = (authorization: unknown): string => String(authorization).replace('Bearer key-of-', '');
    for (const { path, headers, body } of engine.requests()) {
      expect(path).toBe('/v1/chat/completions');
      const own = tenantOf(headers['authorization']);
      expect(body).toMatchObject({
        model: 'demo',
        stream: true,
        stream_options: { include_usage: true },
        ignore_eos: true,
        max_tokens: own === 'QUIET' ? 5 : 20,
        min_tokens: own === 'QUIET' ? 5 : 20,
      });
    }
    const outputs = measured[1]?.outcome.requests.map(({ outputTokens }) => outputTokens);
    expect(new Set(outputs)).toEqual(new Set([5, 20]));

    const json = JSON.parse(JSON.stringify(comparisonJson(comparison)));
    expect(json).toMatchObject({ mode: 'http', saturated: 'yes', engine: null, bucketPerSecond: null });
    expect(json.arms.map(({ arm }: { arm: string }) => arm)).toEqual([
      'solo',
      'direct',
      'request-bucket',
      'fairlane',
    ]);
    expect(json.ratios[1].toDirect).toBe(1);
  });

  it('warns when the engine was never full', async () => {
    const fast = await startSimulator({ profile: ROOMY, models: ['demo'] });
    const scenario = { ...OVERLOAD, durationMs: 2_200 };
    const measured = await run(scenario, { direct: fast.url }, ['direct']);
    await fast.close();
    const { saturated, warnings } = comparisonOf(scenario, measured);
    expect(saturated).toBe('no');
    expect(warnings[0]).toContain('The arm direct did not saturate the engine');
  });

  it('begins with nothing when nothing answers, and says where', async () => {
    const closed = await serve(() => undefined);
    servers.at(-1)?.close();
    const { model: _, ...unnamed } = BURST;
    await expect(run(unnamed, { direct: closed }, ['direct'])).rejects.toThrow(
      `nothing answers at ${closed} (ECONNREFUSED)`,
    );
  });
});

describe('the generator', () => {
  it('is open-loop: a target that answers only when it has every request still gets them all', async () => {
    const held: ServerResponse[] = [];
    const url = await serve((incoming, response) => {
      if (incoming.method === 'GET') {
        response.writeHead(404).end();
        return;
      }
      incoming.resume();
      held.push(response);
      if (held.length === 20) for (const one of held) answer(one);
    });
    const [measured] = await run(BURST, { target: url }, ['target']);
    expect(measured?.outcome.requests.filter(({ outcome }) => outcome === 'completed')).toHaveLength(20);
    // Waited for from the planned time on: the first as long as all others needed to arrive.
    const first = measured?.outcome.requests.find(({ atMs }) => atMs === 0);
    expect(first?.firstTokenMs).toBeGreaterThan(180);
    expect(measured?.saturated).toBe('unknown');
    expect(comparisonOf(BURST, measured === undefined ? [] : [measured]).warnings[0]).toContain('unknown');
  });

  it('takes text and reasoning for tokens, not the role, and counts what the usage says', async () => {
    const url = await serve((incoming, response) => {
      incoming.resume();
      answer(response);
    });
    const [measured] = await run(BURST, { target: url }, ['target']);
    const [one] = measured?.outcome.requests ?? [];
    expect(one).toMatchObject({ outcome: 'completed', promptTokens: 11, outputTokens: 3 });
    expect(measured?.outcome.itl.get('alice')?.count()).toBe(20);
  });

  it('tells refusals from failures, and why', async () => {
    let count = 0;
    const url = await serve((incoming, response) => {
      incoming.resume();
      count += 1;
      if (count <= 5) response.writeHead(429).end('{}');
      else if (count <= 8) response.writeHead(503).end('{}');
      else if (count <= 12) response.writeHead(500).end('{}');
      else if (count <= 14) response.writeHead(200).end('data: {"choices":[{"delta":{"content":"a"}}]}\n\n');
      else if (count === 15)
        response.writeHead(200).end('data: {"error":{"message":"no"}}\n\ndata: [DONE]\n\n');
      else answer(response);
    });
    const [measured] = await run(BURST, { target: url }, ['target']);
    const of = (what: string) => measured?.outcome.requests.filter(({ outcome }) => outcome === what).length;
    expect([of('refused'), of('failed'), of('completed')]).toEqual([8, 7, 5]);
    expect(measured?.outcome.notes.slice(0, 3)).toEqual([
      '4 failed: status 500.',
      '2 failed: no end of the stream.',
      '1 failed: an error in the stream.',
    ]);
  });

  it('counts an answer that is cut off as failed', async () => {
    engine.setFault({ kind: 'die-mid-stream', afterTokens: 1 });
    const [measured] = await run(BURST, { target: engine.url }, ['target']);
    expect(measured?.outcome.requests.every(({ outcome }) => outcome === 'failed')).toBe(true);
    expect(measured?.outcome.requests).toHaveLength(20);
  });

  it('ends early when told, hangs up, and reports what there is', async () => {
    const open = new Set<ServerResponse>();
    let count = 0;
    const url = await serve((incoming, response) => {
      incoming.resume();
      if (incoming.method === 'GET') {
        response.writeHead(404).end();
        return;
      }
      count += 1;
      if (count <= 5) {
        answer(response);
        return;
      }
      open.add(response);
      response.on('close', () => open.delete(response));
    });
    const controller = new AbortController();
    // The others are sent when the answers to the first five have long been read.
    const scenario = burstOf(60_000, (i) => i * 10 + (i < 5 ? 0 : 1_000));
    const running = run(scenario, { target: url }, ['target'], controller.signal);
    await eventually(
      () => open.size,
      (size) => size === 15,
    );
    controller.abort();
    const [measured] = await running;
    expect(measured?.interrupted).toBe(true);
    expect(measured?.outcome.requests).toHaveLength(5);
    expect(measured?.outcome.durationMs).toBeLessThan(60_000);
    expect(measured?.outcome.notes[0]).toMatch(
      /^Ended early, after [\d.]+ s of 60 s: 0 requests were not sent, 15 had no end/,
    );
    await eventually(
      () => open.size,
      (size) => size === 0,
    );
  });
});

describe('fairlane bench', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'fairlane-bench-test-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const cli = async (args: readonly string[], env: NodeJS.ProcessEnv = process.env) => {
    const child = runCli(['bench', ...args], env);
    const code = await child.exited;
    return { code, stdout: child.stdout(), stderr: child.stderr() };
  };
  const keys = { ...process.env, QUIET_KEY: 'key-of-the-quiet', NOISY_KEY: 'key-of-the-noisy' };

  it('compares in the lab, and writes text, JSON and HTML', async () => {
    const [json, html] = [join(folder, 'lab.json'), join(folder, 'lab.html')];
    const { code, stdout, stderr } = await cli([
      'scenarios/noisy-neighbour.yaml',
      '--compare',
      '--duration',
      '5s',
      '--seed',
      '3',
      '--json',
      json,
      '--html',
      html,
    ]);
    expect({ code, lines: stderr.trim().split('\n').length }).toEqual({ code: 0, lines: 5 });
    expect(stdout).toContain('5 s of arrivals · seed 3');
    expect(`${stdout}${stderr}`).not.toContain('\u001b');
    const figures = JSON.parse(readFileSync(json, 'utf8'));
    expect(figures).toMatchObject({ mode: 'virtual', seed: 3, durationMs: 5_000, interrupted: false });
    expect(figures.arms).toHaveLength(5);
    expect(readFileSync(html, 'utf8')).toContain('noisy neighbour');
  });

  it('loads one real target as it is', async () => {
    const fast = await startSimulator({ profile: ROOMY, models: ['demo'] });
    const json = join(folder, 'http.json');
    const { code, stdout } = await cli(
      ['scenarios/http.yaml', '--target', fast.url, '--duration', '2s', '--json', json],
      keys,
    );
    await fast.close();
    expect(code).toBe(0);
    expect(stdout).toContain('WARNING: The arm target did not saturate the engine');
    const figures = JSON.parse(readFileSync(json, 'utf8'));
    expect(figures.arms.map(({ arm }: { arm: string }) => arm)).toEqual(['target']);
    expect(figures.targets).toEqual({ target: fast.url });
    for (const { requests, completed } of figures.arms[0].tenants) expect(completed).toBe(requests);
  });

  it('reports what there is at Ctrl-C', async () => {
    const child = runCli(['bench', 'scenarios/http.yaml', '--target', engine.url, '--duration', '1h'], keys);
    const before = engine.stats().started;
    await eventually(
      () => engine.stats().started - before,
      (started) => started > 3,
      30_000,
    );
    child.child.kill('SIGINT');
    expect(await child.exited).toBe(0);
    expect(child.stdout()).toContain('WARNING: Ended early, in the arm target');
  });

  it.each([
    [['scenarios/http.yaml', '--target', 'http://127.0.0.1:1'], 'environment variable QUIET_KEY is not set'],
    [['scenarios/noisy-neighbour.yaml', '--target', 'http://127.0.0.1:1'], 'give arrivals: { perSecond'],
    [['scenarios/noisy-neighbour.yaml', '--arms', 'dirct'], 'did you mean \\"direct\\"?'],
    [['scenarios/noisy-neighbour.yaml', '--duration', '60'], 'a duration has a unit'],
    [
      ['scenarios/noisy-neighbour.yaml', '--target', 'https://x'],
      'a target is http://host:port, without TLS',
    ],
    [['scenarios/noisy-neighbour.yaml', '--target', 'other=http://x:1'], 'direct=URL, fairlane=URL'],
    [['scenarios/noisy-neighbour.yaml', '--json', '/nowhere/x.json'], 'cannot write /nowhere/x.json'],
    [['nowhere.yaml'], 'cannot read the scenario (no such file)'],
  ])('%j is refused with what to do', async (args, message) => {
    const { QUIET_KEY: _, ...without } = keys;
    const { code, stderr } = await cli(args, without);
    expect(code).toBe(1);
    expect(stderr.replaceAll('"', '\\"')).toContain(message);
    expect(stderr).not.toContain('    at ');
  });

  it('tells what is wrong with a scenario, with its line', async () => {
    const path = join(folder, 'bad.yaml');
    writeFileSync(path, 'name: x\nduraton: 5s\ntenants: {}\n');
    const { code, stderr } = await cli([path]);
    expect(code).toBe(1);
    expect(stderr).toContain(`${path}:2:1: duraton: unknown setting; did you mean "duration"?`);
  });

  it('has a help text with the arms', async () => {
    const { code, stdout } = await cli(['--help']);
    expect(code).toBe(0);
    for (const word of ['--target', 'request-bucket', 'floor', 'saturates']) expect(stdout).toContain(word);
  });
});
