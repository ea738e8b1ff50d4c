/** The files that Envoy watches, on a real folder. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeDynamicFiles } from '../../src/envoy/fs-dynamic-files.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fairlane-files-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const files = (...names: string[]) => new Map(names.map((name) => [name, { name }]));

describe('the dynamic files', () => {
  it('are for their owner only, in a folder that is made when it is not there', () => {
    const inner = join(folder, 'a', 'b');
    writeDynamicFiles(inner, files('api-keys.json'));
    expect(statSync(inner).mode & 0o777).toBe(0o700);
    expect(statSync(join(inner, 'api-keys.json')).mode & 0o777).toBe(0o600);
  });

  it('are not touched when nothing changed, and leave no temporary file', () => {
    writeDynamicFiles(folder, files('clusters.json', 'endpoints-a.json'));
    const before = statSync(join(folder, 'clusters.json'));
    writeDynamicFiles(folder, files('clusters.json', 'endpoints-a.json'));
    expect(statSync(join(folder, 'clusters.json'))).toMatchObject({
      ino: before.ino,
      mtimeMs: before.mtimeMs,
    });
    expect(readdirSync(folder).sort()).toEqual(['clusters.json', 'endpoints-a.json']);
  });

  it('of a pool that is gone go too, and nobody else’s', () => {
    writeFileSync(join(folder, 'notes.json'), '');
    writeDynamicFiles(folder, files('clusters.json', 'endpoints-a.json'));
    writeDynamicFiles(folder, files('clusters.json'));
    expect(readdirSync(folder).sort()).toEqual(['clusters.json', 'notes.json']);
  });

  it('are not written where others could replace them', () => {
    chmodSync(folder, 0o777);
    expect(() => writeDynamicFiles(folder, files('api-keys.json'))).toThrow(/everybody may write to it/);
    chmodSync(folder, 0o770);
    expect(() => writeDynamicFiles(folder, files('api-keys.json'))).toThrow(
      /its group may write to it.*chmod go-w/,
    );
    chmodSync(folder, 0o700);
    if (process.getuid?.() === 0) {
      const theirs = join(folder, 'theirs');
      mkdirSync(theirs);
      chownSync(theirs, 12_345, 12_345);
      expect(() => writeDynamicFiles(theirs, files('api-keys.json'))).toThrow(/another user/);
      expect(() => writeDynamicFiles(join(theirs, 'ours'), files('api-keys.json'))).toThrow(/another user/);
    }
    writeFileSync(join(folder, 'file'), '');
    expect(() => writeDynamicFiles(join(folder, 'file'), files('api-keys.json'))).toThrow(
      /envoy\.directory: cannot use/,
    );
    expect(readdirSync(folder)).not.toContain('api-keys.json');
  });

  it('are written below the root of a volume of its own, as of an emptyDir in a pod', (context) => {
    const volume = join(folder, 'volume');
    mkdirSync(volume);
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'mode=0777', 'none', volume]).status === 0;
    // Only root may mount.
    if (!mounted) context.skip();
    try {
      writeDynamicFiles(join(volume, 'own'), files('api-keys.json'));
      expect(readdirSync(join(volume, 'own'))).toEqual(['api-keys.json']);
      expect(() => writeDynamicFiles(volume, files('api-keys.json'))).toThrow(/everybody may write to it/);
      mkdirSync(join(volume, 'open'));
      chmodSync(join(volume, 'open'), 0o777);
      expect(() => writeDynamicFiles(join(volume, 'open', 'x'), files('api-keys.json'))).toThrow(
        /others may write to .*open, on the way to it/,
      );
    } finally {
      spawnSync('umount', [volume]);
    }
  });

  it('leave no temporary file where there is no room for one', () => {
    const path = join(folder, 'large.json');
    const module = new URL('../../src/files/fs-own.ts', import.meta.url).href;
    const script = `import(process.argv[1]).then(({ replaceOwnFile }) => {
      try { replaceOwnFile(process.argv[2], 'x'.repeat(5_000_000)); } catch ({ code }) { console.log(code); }
    });`;
    // Beyond the largest file that a process may write, as on a full disk, the rest of a write is refused.
    const limited = `trap '' XFSZ; ulimit -f 4096; exec "$@"`;
    const node = [process.execPath, '--import', 'tsx', '--eval', script, module, path];
    const { stdout, stderr } = spawnSync('sh', ['-c', limited, 'sh', ...node], { encoding: 'utf8' });
    expect([stdout, stderr]).toEqual(['EFBIG\n', '']);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('are not written through a link, or below a folder that others may write to', () => {
    const real = join(folder, 'real');
    mkdirSync(real, { mode: 0o700 });
    symlinkSync(real, join(folder, 'link'));
    for (const to of [join(folder, 'link'), `${folder}/link/`, `${folder}/link/.`, `${folder}/link//`]) {
      expect(() => writeDynamicFiles(to, files('api-keys.json'))).toThrow(/symbolic link/);
    }
    const between = join(folder, 'between');
    mkdirSync(between);
    mkdirSync(join(between, 'inner'), { mode: 0o700 });
    for (const mode of [0o775, 0o757]) {
      chmodSync(between, mode);
      expect(() => writeDynamicFiles(join(between, 'inner'), files('api-keys.json'))).toThrow(
        /others may write to .*between, on the way to it/,
      );
      // By a link on the way, too.
      symlinkSync(between, join(folder, `way-${mode}`));
      expect(() => writeDynamicFiles(join(folder, `way-${mode}`, 'inner'), files('api-keys.json'))).toThrow(
        /on the way to it/,
      );
    }
    expect(readdirSync(join(between, 'inner'))).toEqual([]);
    // What a link says is relative to where it is, not to the name by which it is reached.
    const far = join(folder, 'far');
    mkdirSync(far);
    symlinkSync('../between', join(far, 'back'));
    mkdirSync(join(folder, 'x', 'y'), { recursive: true });
    symlinkSync('../../far', join(folder, 'x', 'y', 'far'));
    expect(() =>
      writeDynamicFiles(join(folder, 'x', 'y', 'far', 'back', 'inner'), files('api-keys.json')),
    ).toThrow(/others may write to .*between, on the way to it/);
    symlinkSync('loop', join(folder, 'loop'));
    expect(() => writeDynamicFiles(join(folder, 'loop', 'a'), files('api-keys.json'))).toThrow(
      /envoy\.directory: cannot use/,
    );
    // As /tmp is: nobody moves what is another's.
    chmodSync(between, 0o1777);
    writeDynamicFiles(join(between, 'inner'), files('api-keys.json'));
    // A link on the way that is ours, to a way that is good.
    chmodSync(between, 0o755);
    symlinkSync(between, join(folder, 'good'));
    writeDynamicFiles(join(folder, 'good', 'inner'), files('clusters.json'));
    expect(readdirSync(join(between, 'inner')).sort()).toEqual(['api-keys.json', 'clusters.json']);
  });

  it('replace what was put in their place, and write to nothing of it', () => {
    const elsewhere = join(folder, 'elsewhere');
    const inner = join(folder, 'inner');
    const path = join(inner, 'api-keys.json');
    const text = JSON.stringify({ name: 'api-keys.json' });
    mkdirSync(inner, { mode: 0o700 });
    const places: readonly (() => void)[] = [
      () => symlinkSync(elsewhere, path),
      () => symlinkSync(elsewhere, `${path}.new`),
      () => linkSync(elsewhere, path),
      () => linkSync(elsewhere, `${path}.new`),
      () => writeFileSync(path, text, { mode: 0o644 }),
      () => execFileSync('sh', ['-c', 'mkfifo "$0"', path]),
    ];
    for (const put of places) {
      // The right text is no reason to leave a link where it is.
      writeFileSync(elsewhere, text);
      rmSync(path, { force: true });
      put();
      writeDynamicFiles(inner, files('api-keys.json'));
      const stats = lstatSync(path);
      expect([stats.isFile(), stats.mode & 0o777, stats.nlink]).toEqual([true, 0o600, 1]);
      expect(stats.ino).not.toBe(statSync(elsewhere).ino);
      expect(readFileSync(path, 'utf8')).toBe(text);
      expect(readdirSync(inner)).toEqual(['api-keys.json']);
    }
    mkdirSync(`${path}.new`);
    expect(() => writeDynamicFiles(inner, files('api-keys.json', 'other.json'))).not.toThrow();
    rmSync(path);
    expect(() => writeDynamicFiles(inner, files('api-keys.json'))).toThrow(/envoy\.directory: cannot use/);
  });
});
