/** The units of packaging/systemd, as systemd itself reads them. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { debianProgram } from '../support/debian.ts';

const UNITS = ['fairlane.service', 'fairlane-envoy.service'] as const;
/** Of 100, as `systemd-analyze security` counts: more is worse. */
const MOST_EXPOSED = 25;

it('systemd takes the units, and finds them hardened', () => {
  const analyze = debianProgram('systemd-analyze', 'systemd');
  const folder = mkdtempSync(join(tmpdir(), 'fairlane-units-'));
  try {
    const paths = UNITS.map((name) => {
      // Programs that are not on this machine are no fault of the unit.
      const text = readFileSync(join('packaging/systemd', name), 'utf8');
      const path = join(folder, name);
      writeFileSync(path, text.replace(/^(ExecStart|ExecStop)=\/usr\/[\w/-]+/gm, '$1=/bin/true'));
      return path;
    });
    const run = (...args: readonly string[]) => spawnSync(analyze, args, { encoding: 'utf8' });
    expect(run('verify', '--man=no', ...paths)).toMatchObject({ status: 0, stderr: '' });
    for (const path of paths) {
      expect(run('security', '--offline=true', `--threshold=${MOST_EXPOSED}`, path)).toMatchObject({
        status: 0,
      });
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 180_000);
