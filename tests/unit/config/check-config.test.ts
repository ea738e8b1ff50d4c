import { afterEach, describe, expect, it, vi } from 'vitest';
import { checkConfigCommand } from '../../../src/cli/check-config.ts';

async function run(...args: string[]): Promise<{ out: string; err: string; code: unknown }> {
  const lines = { log: [] as string[], error: [] as string[] };
  vi.spyOn(console, 'log').mockImplementation((line: string) => void lines.log.push(line));
  vi.spyOn(console, 'error').mockImplementation((line: string) => void lines.error.push(line));
  await checkConfigCommand().parseAsync(args, { from: 'user' });
  const code = process.exitCode;
  process.exitCode = undefined;
  return { out: lines.log.join('\n'), err: lines.error.join('\n'), code };
}

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

describe('check-config', () => {
  it('says what a right configuration holds', async () => {
    vi.stubEnv('ALICE_KEY', 'example-of-alice');
    vi.stubEnv('BOB_KEY', 'example-of-bob');
    const { out, code } = await run('examples/existing-vllm.yaml');
    expect(out).toBe('OK: 2 tenants, 1 pool with 1 endpoint, 0 models (1 pool will be asked for more)');
    expect(code).toBeUndefined();
  });

  it('says how much memory one tenant can take', async () => {
    vi.stubEnv('ALICE_KEY', 'example-of-alice');
    vi.stubEnv('BOB_KEY', 'example-of-bob');
    const { out } = await run('examples/existing-vllm.yaml', '--memory');
    expect(out).toContain(
      '\nMemory: tenant alice alone can fill Envoy to 474 MiB and Fairlane to 268 MiB; Envoy sheds at a heap of 416 MiB',
    );
  });

  it('warns of keys that have another name now, and does not fail', async () => {
    const { out, err, code } = await run('tests/fixtures/config-before-house/old-names.yaml');
    expect(err.split('\n')).toHaveLength(6);
    expect(err).toMatch(/^warning: .*old-names\.yaml:5:5: pools\.main\.windowPerEndpoint: is now called/);
    expect(out).toMatch(/^OK: /);
    expect(code).toBeUndefined();
  });

  it('says every problem and fails', async () => {
    const { out, err, code } = await run('examples/existing-vllm.yaml');
    expect(out).toBe('');
    expect(err).toMatch(/ALICE_KEY is not set.*\n.*BOB_KEY is not set/);
    expect(code).toBe(1);
  });

  it.each(['examples/nowhere.yaml', 'examples', 'package.json/x'])(
    'cannot read %s and says so',
    async (path) => {
      const { err, code } = await run(path);
      expect(err).toMatch(
        /cannot read the configuration \((no such file|it is a directory)\); give the path/,
      );
      expect(code).toBe(1);
    },
  );
});
