/** Part of `npm run build`: writes the commit beside the program. FAIRLANE_COMMIT tells it where there is no git. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { BUILD_INFO, commitOf } from './build-info.ts';

function ofGit(): string | undefined {
  try {
    const args = ['describe', '--always', '--exclude=*', '--abbrev=7', '--dirty'];
    return execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return undefined;
  }
}

const commit = commitOf(process.env['FAIRLANE_COMMIT'] || ofGit());
writeFileSync(BUILD_INFO, `${JSON.stringify({ commit })}\n`);
