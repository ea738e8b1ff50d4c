/** The folder of rate limit files on a real file system, and `fairlane ratelimit check`. */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readLimits, takesOver, watchLimits } from '../../src/rate-limit-service/fs-limits.ts';
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
      const watched = { directory: how === 'a single file' ? path : directory, mergeDomains: false };
      const watcher = watchLimits(
        watched,
        readLimits(watched),
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

it('is read again when a file is written between the reading and the watching', async () => {
  const watched = { directory: folder('written between', { 'a.yaml': file('a') }), mergeDomains: false };
  const first = readLimits(watched);
  writeFileSync(join(watched.directory, 'a.yaml'), file('between'));
  const changes: (readonly string[])[] = [];
  const watcher = watchLimits(
    watched,
    first,
    (domains) => changes.push([...domains.keys()]),
    () => undefined,
  );
  await eventually(
    () => changes.at(-1),
    (domains) => domains !== undefined,
    5_000,
  );
  expect(changes).toEqual([['between']]);
  watcher.close();
});

describe('what in the folder is no file of limits', () => {
  /** Everything that is found beside files, at once. */
  const odd = (name: string): string => {
    const directory = folder(name, { 'good.yaml': file('good') });
    symlinkSync(join(directory, 'nowhere'), join(directory, 'dangling.yaml'));
    symlinkSync(join(directory, 'circle.yaml'), join(directory, 'circle.yaml'));
    execFileSync('mkfifo', [join(directory, 'pipe.yaml')]);
    mkdirSync(join(directory, 'folder.yaml'));
    for (const copy of [
      '.good.yaml.swp',
      'good.yaml~',
      '#good.yaml#',
      '.#good.yaml',
      'good.yaml.bak',
      '4913',
    ]) {
      writeFileSync(join(directory, copy), 'nonsense: [');
    }
    return directory;
  };

  it('is passed over and told, each with its reason; copies that editors make are not even told', () => {
    const directory = odd('odd');
    const loaded = readLimits({ directory, mergeDomains: false });
    if (loaded.kind === 'bad') throw new Error(loaded.problem);
    expect([...loaded.domains.keys()]).toEqual(['good']);
    expect(loaded.passed.map(({ path, why }) => `${path.slice(directory.length + 1)}: ${why}`)).toEqual([
      'circle.yaml: it is a link in a circle',
      'dangling.yaml: there is nothing behind this name: a dangling link, or a file that has just been removed',
      'folder.yaml: it is a folder',
      'pipe.yaml: it is no regular file',
    ]);
  });

  it('does not keep changes beside it from being seen', async () => {
    const directory = odd('odd-watched');
    const seen: string[] = [];
    const problems: string[] = [];
    const watched = { directory, mergeDomains: false };
    const watcher = watchLimits(
      watched,
      readLimits(watched),
      (domains, passed) => seen.push(`${[...domains.keys()].join()} ${passed.length}`),
      (problem) => problems.push(problem),
    );
    writeFileSync(join(directory, 'good.yaml'), file('better'));
    await eventually(
      () => seen.at(-1),
      (last) => last === 'better 4',
      5_000,
    );
    // The link leads somewhere at last.
    writeFileSync(join(directory, 'nowhere'), file('found'));
    await eventually(
      () => seen.at(-1),
      (last) => last === 'found,better 3',
      5_000,
    );
    expect(problems).toEqual([]);
    watcher.close();
  });

  it('is a problem where there is nothing else', () => {
    const directory = folder('only-dangling', {});
    symlinkSync('nowhere', join(directory, 'a.yaml'));
    expect(readLimits({ directory, mergeDomains: false })).toMatchObject({
      kind: 'bad',
      problem: expect.stringMatching(/no \.yaml file can be read \(.*a\.yaml: there is nothing behind/),
    });
  });

  it('is a problem where it is larger than any file of limits, and a pipe in place of the folder does not block', () => {
    const directory = folder('large', { 'a.yaml': file('a') });
    appendFileSync(join(directory, 'a.yaml'), `# ${'x'.repeat(5 * 1024 ** 2)}`);
    const large = readLimits({ directory, mergeDomains: false });
    expect(large.kind === 'bad' && large.problem).toContain('a.yaml has more than 4194304 bytes');
    const pipe = join(root, 'pipe');
    execFileSync('mkfifo', [pipe]);
    const read = readLimits({ directory: pipe, mergeDomains: false });
    expect(read.kind === 'bad' && read.problem).toContain('it is no regular file');
  });

  it('keeps what a file said that may not be read any more; one that never was read is passed over', () => {
    const denied = { path: '/l/a.yaml', why: 'permission denied', isDenied: true };
    const gone = { path: '/l/b.yaml', why: 'there is nothing', isDenied: false };
    const next = (...passed: (typeof denied)[]) => ({
      kind: 'ok' as const,
      domains: new Map(),
      paths: ['/l/c.yaml'],
      passed,
    });
    expect(takesOver(next(denied), ['/l/a.yaml', '/l/c.yaml'])).toBe(false);
    expect(takesOver(next(denied), ['/l/c.yaml'])).toBe(true);
    expect(takesOver(next(gone), ['/l/b.yaml'])).toBe(true);
  });

  it('is told by the check too, which passes', async () => {
    const directory = odd('odd-checked');
    const command = runCli(['ratelimit', 'check', directory]);
    expect(await command.exited).toBe(0);
    expect(command.stderr()).toMatch(/^warning: .*dangling\.yaml: passed over: there is nothing/m);
  });
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
