import { describe, expect, it } from 'vitest';
import type { MirrorConfig } from '../../../src/config/config.ts';
import { createMirrors, type MirrorEndpoint, type MirrorPoolView } from '../../../src/rollout/mirrors.ts';

const always: MirrorConfig = {
  pool: 'next',
  fraction: 1,
  maxConcurrent: 2,
  perSecond: 100,
  maxDurationMs: 60_000,
};
const idle: MirrorEndpoint = { open: true, gauges: { running: 0, waiting: 0 } };
const models = (mirror: Partial<MirrorConfig> = {}) => [
  { name: 'demo', mirror: { ...always, ...mirror } },
  { name: 'other' },
];

function world(view: MirrorPoolView | undefined = { endpoints: [idle], concurrencyLimit: 'auto' }) {
  const drawn: string[] = [];
  let pool = view;
  const mirrors = createMirrors(models(), {
    poolOf: (name) => (name === 'next' ? pool : undefined),
    onDrawn: (model, decision) => drawn.push(`${model} ${decision}`),
  });
  return {
    mirrors,
    drawn,
    show: (endpoints: readonly MirrorEndpoint[], windowPerEndpoint: number | 'auto' = 'auto') => {
      pool = { endpoints, concurrencyLimit: windowPerEndpoint };
    },
    ask: (nowMs: number, draw = 0, model = 'demo') => mirrors.poolFor(model, () => draw, 10, nowMs),
  };
}

describe('a copy', () => {
  it('goes to the mirror pool of the model, and of no other model', () => {
    const { ask, drawn } = world();
    expect(ask(0)).toBe('next');
    expect(ask(0, 0, 'other')).toBeUndefined();
    expect(ask(0, 0, 'unknown')).toBeUndefined();
    expect(drawn).toEqual(['demo copy']);
  });

  it('is drawn for no model that has no mirror', () => {
    const { mirrors } = world();
    const draw = () => {
      throw new Error('drawn');
    };
    expect(mirrors.poolFor('other', draw, 10, 0)).toBeUndefined();
  });

  it('that is not drawn is not told of', () => {
    const { mirrors, ask, drawn } = world();
    mirrors.reconfigure(models({ fraction: 0.5 }));
    expect(ask(0, 0.5)).toBeUndefined();
    expect(ask(0, 0.49)).toBe('next');
    mirrors.reconfigure(models({ fraction: 0 }));
    expect(ask(0, 0)).toBeUndefined();
    expect(drawn).toEqual(['demo copy']);
  });

  it.each<[string, readonly MirrorEndpoint[], number | 'auto']>([
    ['unhealthy', [], 'auto'],
    ['unhealthy', [idle, { ...idle, open: false }], 'auto'],
    ['unknown', [idle, { open: true, gauges: undefined }], 'auto'],
    ['behind', [idle, { open: true, gauges: { running: 1, waiting: 1 } }], 'auto'],
    ['behind', [idle, { open: true, gauges: { running: 8, waiting: 0 } }], 4],
  ])('is not made while the pool is %s: %j, window %s', (reason, endpoints, size) => {
    const { ask, drawn, show } = world();
    show(endpoints, size);
    expect(ask(0)).toBeUndefined();
    expect(drawn).toEqual([`demo ${reason}`]);
  });

  it('is not made for a pool that is not there', () => {
    const drawn: string[] = [];
    const mirrors = createMirrors(models(), {
      poolOf: () => undefined,
      onDrawn: (_, decision) => drawn.push(decision),
    });
    expect(mirrors.poolFor('demo', () => 0, 10, 0)).toBeUndefined();
    expect(drawn).toEqual(['unhealthy']);
  });

  it('counts for twice as long as requests of the model take, at most for maxDuration', () => {
    const { mirrors, ask, drawn } = world();
    for (let i = 0; i < 200; i += 1) mirrors.learn('demo', 1_000, 10);
    mirrors.learn('other', 1, 1);
    expect([ask(0), ask(0), ask(0)]).toEqual(['next', 'next', undefined]);
    expect(ask(1_990)).toBeUndefined();
    expect(ask(2_010)).toBe('next');
    expect(drawn.filter((one) => one === 'demo too-many')).toHaveLength(2);
    for (let i = 0; i < 200; i += 1) mirrors.learn('demo', 1e9, 0);
    ask(10_000);
    expect(mirrors.list(69_999)).toMatchObject([{ model: 'demo', pool: 'next', fraction: 1, running: 1 }]);
    expect(mirrors.list(70_000)).toMatchObject([{ running: 0 }]);
  });
});

describe('a reload', () => {
  it('that changes nothing, or a number, forgets no copy that runs', () => {
    const { mirrors, ask } = world();
    ask(0);
    mirrors.reconfigure(models({ maxConcurrent: 1 }));
    expect(ask(1)).toBeUndefined();
    mirrors.reconfigure(models({ maxConcurrent: 2 }));
    expect(ask(2)).toBe('next');
  });

  it('adds mirrors and takes them away', () => {
    const { mirrors, ask } = world();
    mirrors.reconfigure([{ name: 'demo' }]);
    expect(ask(0)).toBeUndefined();
    expect(mirrors.list(0)).toEqual([]);
    mirrors.reconfigure(models());
    expect(ask(0)).toBe('next');
  });

  it('to another pool begins anew', () => {
    const { mirrors, ask } = world();
    ask(0);
    mirrors.reconfigure(models({ pool: 'elsewhere' }));
    expect(mirrors.list(0)).toMatchObject([{ pool: 'elsewhere', running: 0 }]);
    expect(ask(0)).toBeUndefined();
  });
});
