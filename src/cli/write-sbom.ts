/** Part of the image's build: `npm sbom --sbom-format=cyclonedx | node dist/cli/write-sbom.js > sbom.cdx.json`. */
import { readFileSync } from 'node:fs';
import { sbomOfImage } from './sbom.ts';

const STDIN = 0;
process.stdout.write(
  `${JSON.stringify(sbomOfImage(JSON.parse(readFileSync(STDIN, 'utf8')), 'fairlane'), undefined, 2)}\n`,
);
