/** The folder of rate limit files on a real file system, and `fairlane ratelimit check`. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readLimits, watchLimits } from '../../src/rate-limit-service/fs-limits.ts';
import { eventually } from '../support/eventually.ts';
import { runCli } from '../support/serve.ts';

const root = mkdtempSync(join(tmpdir(), 'fairlane-limits-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const file = (domain: string, key = 'k'): string => `domain: ${domain}\ndescriptors:\n  - key: ${key}\n`;
const folder = (name: string, files: Readonly<Record<string, string>>): string => {
  const path = join(root, name);
  mkdirSync(path);
  for (const [inside, text] of Object.entries(files)) writeFileSync(join(path, inside), text);
  return path;
};

describe('the folder of rate limit files', () => {
  it('is all its YAML files, hidden ones and others left out; or one file', () => {
    const directory = folder('many', {
      'b.yaml': file('b'),
      'a.yml': file('a'),
      '.hidden.yaml': 'nonsense: [',
      'README.md': '# no limits',
    });
    const loaded = readLimits({ directory, mergeDomains: false });
    expect(loaded.kind === 'ok' && [...loaded.domains.keys()]).toEqual(['a', 'b']);
    const one = readLimits({ directory: join(directory, 'b.yaml'), mergeDomains: false });
    expect(one.kind === 'ok' && [...one.domains.keys()]).toEqual(['b']);
  });

  it('says what is wrong when it is empty, absent, or holds a bad file', () => {
    const problem = (directory: string): string => {
      const loaded = readLimits({ directory, mergeDomains: false });
      return loaded.kind === 'bad' ? loaded.problem : 'ok';
    };
    expect(problem(folder('empty', {}))).toContain('there is no .yaml file');
    expect(problem(join(root, 'absent'))).toContain('no such file');
    const bad = folder('bad', { 'a.yaml': file('a'), 'b.yaml': 'domain: ""' });
    expect(problem(bad)).toBe(`${join(bad, 'b.yaml')}: config file cannot have empty domain`);
  });

  it.each(['written', 'renamed', 'linked', 'a single file'])(
    'is read again when a file is %s',
    async (how) => {
      const directory = folder(`watched ${how}`, { 'a.yaml': file('a') });
      const path = join(directory, 'a.yaml');
      const changes: (readonly string[])[] = [];
      const problems: string[] = [];
      const watcher = watchLimits(
        { directory: how === 'a single file' ? path : directory, mergeDomains: false },
        (domains) => changes.push([...domains.keys()]),
        (problem) => problems.push(problem),
      );
      const write = (text: string): void => {
        if (how === 'written' || how === 'a single file') writeFileSync(path, text);
        else if (how === 'renamed') {
          writeFileSync(join(root, 'new.yaml'), text);
          renameSync(join(root, 'new.yaml'), path);
        } else {
          const target = join(root, `target-${text.length}.yaml`);
          writeFileSync(target, text);
          unlinkSync(path);
          symlinkSync(target, path);
        }
      };
      write(file('changed'));
      await eventually(
        () => changes.at(-1),
        (domains) => domains?.[0] === 'changed',
        5_000,
      );
      write('domain: ""\n# bad');
      await eventually(
        () => problems.length,
        (count) => count > 0,
        5_000,
      );
      expect(changes.at(-1)).toEqual(['changed']);
      watcher.close();
    },
  );
});

describe('fairlane ratelimit check', () => {
  it('passes what is right and names what is wrong', async () => {
    const good = folder('good', { 'a.yaml': file('a') });
    const bad = folder('wrong', { 'b.yaml': `${file('b')}    rate_limitt: {}\n` });
    const command = runCli(['ratelimit', 'check', good, bad]);
    expect(await command.exited).toBe(1);
    expect(command.stdout()).toBe(`${good}: ok, domains a\n`);
    expect(command.stderr()).toContain("unknown key 'rate_limitt'");
    expect(await runCli(['ratelimit', 'check', 'examples/limits']).exited).toBe(0);
  });

  it('has help', () => {
    const help = execFileSync(
      process.execPath,
      ['--import', 'tsx', 'src/cli/index.ts', 'ratelimit', 'check', '--help'],
      {
        encoding: 'utf8',
      },
    );
    expect(help).toContain('--merge-domains');
  });
});
