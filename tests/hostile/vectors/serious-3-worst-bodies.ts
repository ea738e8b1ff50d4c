/** Serious 3: no body makes the service late, and so nobody's request goes past it unread. */
import { expect } from 'vitest';
import { flood } from '../../prove/flood.ts';
import type { Group, Mode, Vector } from '../support/vectors.ts';
import { watchVictim } from '../support/victim.ts';
import { WORST_BODIES } from '../support/worst-bodies.ts';

/** Of somebody else's small request meanwhile, on a machine that does other things too. */
const SLOWEST_MS = 1_500;
const ANSWER_MS = 4_000;

const worst = (name: string, path: string, make: () => Buffer, modes: readonly Mode[]): Vector => ({
  name,
  modes,
  async send({ world, mode, send }) {
    const watching = watchVictim(world, mode === 'closed' ? 'closed' : 'open');
    const body = make();
    const answers = await Promise.all([send({ path, body }), send({ path, body })]);
    const witness = await watching.stop();
    expect(witness, `${witness.sent} sent`).toMatchObject({ failed: 0, past: 0 });
    expect(witness.slowestMs, "the victim's slowest").toBeLessThan(SLOWEST_MS);
    return answers;
  },
  expect: {
    status: (status) => status === 200 || (status >= 400 && status < 500),
    within: ANSWER_MS,
  },
});

export const SERIOUS_3: Group = {
  name: 'serious 3: worst bodies',
  vectors: [
    ...WORST_BODIES.map(({ name, path, make }, i) =>
      worst(name, path, make, i < 3 ? ['open', 'closed'] : ['open']),
    ),
    {
      // The proof itself takes a minute: tests/prove/flood.ts.
      name: 'a flood of them, for some seconds',
      async send({ world }) {
        const result = await flood(world, { seconds: 4, connections: 4, seed: 1 });
        expect(result).toMatchObject({ failed: 0, past: 0 });
        expect(result.sent).toBeGreaterThan(20);
        return [];
      },
      expect: {},
    },
  ],
};
