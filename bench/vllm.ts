/**
 * `npm run bench:vllm`: the noisy neighbour on a real vLLM (CPU, tiny random model, 8 sequences), through a real Envoy. Options
 * go on to `fairlane bench`: `--json FILE`, `--html FILE`, `--duration 30s`, `--seed N`.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePorts } from '../tests/support/ports.ts';
import { runCli } from '../tests/support/serve.ts';
import { startVllm } from './vllm/engine.ts';

const SEQUENCES = 8;
const CLI = 'dist/cli/index.js';
const SCENARIO = fileURLToPath(new URL('../scenarios/vllm.yaml', import.meta.url));
const KEYS = { QUIET_KEY: 'quiet-tenant-of-the-vllm-bench', NOISY_KEY: 'noisy-tenant-of-the-vllm-bench' };

const say = (text: string): void => console.error(text);

const engine = await startVllm({ maxSequences: SEQUENCES, onProgress: say });
say(`vLLM ${engine.version} on ${engine.url}`);
const directory = mkdtempSync(join(tmpdir(), 'fairlane-vllm-'));
const [api = 0, admin = 0, metrics = 0] = await freePorts(3);
const path = join(directory, 'fairlane.yaml');
writeFileSync(
  path,
  JSON.stringify({
    listen: `127.0.0.1:${api}`,
    envoy: { admin: `127.0.0.1:${admin}`, directory },
    service: { metrics: `127.0.0.1:${metrics}` },
    pools: { main: { endpoints: [engine.url] } },
    models: { tiny: { pool: 'main' } },
    tenants: { quiet: { keys: ['env:QUIET_KEY'] }, noisy: { keys: ['env:NOISY_KEY'] } },
    log: { level: 'warn' },
  }),
);
const env = { ...process.env, ...KEYS };
const fairlane = runCli(['start', '--config', path, '--envoy-concurrency', '1'], env, [CLI]);
let code = 1;
try {
  await fairlane.until('Fairlane is up');
  const bench = spawn(
    process.execPath,
    [
      CLI,
      'bench',
      SCENARIO,
      '--compare',
      ...['--target', `direct=${engine.url}`],
      ...['--target', `fairlane=http://127.0.0.1:${api}`],
      ...process.argv.slice(2),
    ],
    { env, stdio: 'inherit' },
  );
  // Ctrl-C reaches the bench too: it reports what there is, and then we clean up.
  process.on('SIGINT', () => {});
  code = await new Promise<number>((resolve) => bench.once('close', (status) => resolve(status ?? 1)));
  const { pools } = (await (await fetch(`http://127.0.0.1:${metrics}/health`)).json()) as { pools: object };
  say(`concurrency limits at the end: ${JSON.stringify(pools)}`);
} finally {
  fairlane.child.kill('SIGTERM');
  await fairlane.exited;
  await engine.stop();
  rmSync(directory, { recursive: true, force: true });
}
process.exit(code);
