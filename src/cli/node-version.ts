/**
 * Which versions of Node.js serve. In V8 the hash of a string of digits was its number (CVE-2026-21717):
 * whoever knows that writes JSON whose strings all meet in one place of V8's table of strings, and reading it
 * takes the square of their number. 60,000 of them, 600 KB, held the event loop for four seconds. No limit of
 * ours on the size of a body can help there.
 */

/**
 * By release line: the first version whose hashes are seeded. Lines that are not here and older than the
 * newest have none.
 */
const FLOORS: ReadonlyMap<number, readonly [minor: number, patch: number]> = new Map([
  [20, [20, 2]],
  [22, [22, 2]],
  [24, [14, 1]],
  [25, [8, 2]],
]);
/** From here on every line. */
const FIRST_GOOD_LINE = 26;

/** For package.json. */
export const NODE_RANGE = [
  ...[...FLOORS].map(([major, [minor, patch]]) => `^${major}.${minor}.${patch}`),
  `>=${FIRST_GOOD_LINE}.0.0`,
].join(' || ');

const floorsText = [...FLOORS]
  .map(([major, [minor, patch]]) => `${major}.${minor}.${patch}`)
  .concat(`${FIRST_GOOD_LINE} or later`)
  .join(', ');

/**
 * @param version as process.versions.node has it. A preview (`26.0.0-rc.1`) counts as older than what it
 * precedes.
 */
export function isSeeded(version: string): boolean {
  const parts = /^(\d+)\.(\d+)\.(\d+)(-.*)?$/.exec(version);
  if (parts === null) return false;
  const [major, minor, patch] = parts.slice(1, 4).map(Number) as [number, number, number];
  const isPreview = parts[4] !== undefined;
  const floor = major >= FIRST_GOOD_LINE ? ([0, 0] as const) : FLOORS.get(major);
  if (floor === undefined) return false;
  const over = minor - floor[0] || patch - floor[1];
  return isPreview && major <= FIRST_GOOD_LINE ? over > 0 : over >= 0;
}

const STRINGS = 4_000;
const ROUNDS = 5;
/** Predictable hashes take thirty times as long here, seeded ones as long as any others. */
const SUSPECT_RATIO = 6;

/**
 * Whether strings that would meet in one place take longer to read than such as do not: for versions below
 * the floor, which a distribution may have mended without another number. Takes some 10 ms, 60 where hashes
 * are predictable.
 *
 * @param now in milliseconds, with a fraction.
 */
export function hashesArePredictable(now: () => number): boolean {
  const fastest = (step: number): number => {
    let best = Number.POSITIVE_INFINITY;
    for (let round = 0; round < ROUNDS; round += 1) {
      // Others in each round: a string that V8 knows already is found at once.
      const strings = Array.from({ length: STRINGS }, (_, i) => String((i + 1) * step + round * 7_919));
      const text = JSON.stringify(strings);
      const begin = now();
      JSON.parse(text);
      best = Math.min(best, now() - begin);
    }
    return best;
  };
  // The table's places are the last bits of a hash.
  return fastest(2 ** 20) > SUSPECT_RATIO * fastest(2 ** 20 + 7_919);
}

/** What keeps this Node.js from serving. */
export function nodeProblem(version: string, arePredictable: () => boolean): string | undefined {
  if (isSeeded(version) || !arePredictable()) return undefined;
  return `Node.js ${version} has predictable string hashes (CVE-2026-21717): one request of a few hundred kilobytes would stop Fairlane for seconds. Install the newest version of a line that is maintained (the first good ones are ${floorsText}), for example with \`nvm install 24\` or, in a container, by \`docker compose build --pull\``;
}
