/** The units of packaging/systemd, as systemd itself reads them. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
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

it('the lines of the page put everything where the units look for it', () => {
  const root = mkdtempSync(join(tmpdir(), 'fairlane-root-'));
  try {
    const page = readFileSync('docs/install/systemd.md', 'utf8');
    const lines = Array.from(page.matchAll(/^ *sudo (install .*)$/gm), ([, line = '']) => line);
    for (const line of lines) {
      const { status, stderr } = spawnSync('sh', ['-c', line.replaceAll(' /', ` ${root}/`)], {
        cwd: 'packaging/systemd',
        encoding: 'utf8',
      });
      expect([line, status, stderr]).toEqual([line, 0, '']);
    }
    const units = UNITS.map((unit) => readFileSync(join(root, 'etc/systemd/system', unit), 'utf8')).join(
      '\n',
    );
    const [stop = ''] = /(?<=^ExecStop=)\S+/m.exec(units) ?? [];
    expect(statSync(join(root, stop)).mode & 0o777).toBe(0o755);
    const [environment = ''] = /(?<=^EnvironmentFile=-)\S+/m.exec(units) ?? [];
    expect(statSync(join(root, environment)).mode & 0o777).toBe(0o600);
    expect(existsSync(join(root, 'etc/sysusers.d/fairlane.conf'))).toBe(true);
    expect(page).toContain(/(?<=^ExecStart=)\S+fairlane(?= )/m.exec(units)?.[0]);
    expect(page).toContain(/(?<=^ExecStart=)\S+envoy(?= )/m.exec(units)?.[0]);
  } finally {
    rmSync(root, { recursive: true });
  }
});
