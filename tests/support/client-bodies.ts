/** Bodies as real clients send them, to the byte (tests/fixtures/bodies/README.md says where each is from). */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CommonRoute } from '../../src/domain/routes.ts';

export interface ClientBody {
  readonly name: string;
  readonly route: CommonRoute;
  readonly bytes: Buffer;
}

const FOLDER = fileURLToPath(new URL('../fixtures/bodies', import.meta.url));
const END = '.body';

/** In the order of their names. */
export const CLIENT_BODIES: readonly ClientBody[] = readdirSync(FOLDER, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name)
  .sort()
  .flatMap((route) =>
    readdirSync(join(FOLDER, route))
      .filter((file) => file.endsWith(END))
      .sort()
      .map((file) => ({
        name: file.slice(0, -END.length),
        route: route as CommonRoute,
        bytes: readFileSync(join(FOLDER, route, file)),
      })),
  );
