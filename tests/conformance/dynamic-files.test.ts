/** The files that Envoy watches, on a real folder. */
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
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
    chmodSync(folder, 0o700);
    if (process.getuid?.() === 0) {
      const theirs = join(folder, 'theirs');
      mkdirSync(theirs);
      chownSync(theirs, 12_345, 12_345);
      expect(() => writeDynamicFiles(theirs, files('api-keys.json'))).toThrow(/another user/);
    }
    writeFileSync(join(folder, 'file'), '');
    expect(() => writeDynamicFiles(join(folder, 'file'), files('api-keys.json'))).toThrow(
      /envoy\.directory: cannot use/,
    );
  });
});
