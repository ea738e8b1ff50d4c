import { describe, expect, it } from 'vitest';
import type { ConfigSource } from '../../../src/config/changes.ts';
import type { Config } from '../../../src/config/config.ts';
import { Reloader } from '../../../src/service/reloader.ts';
import type { ServiceEvent } from '../../../src/telemetry/telemetry.ts';
import { configOf, minimal } from '../config/parse.ts';

const configWith = (key: string): Config => configOf({ ...minimal(), tenants: { alice: { keys: [key] } } });
const [first, second, third] = [configWith('first'), configWith('second'), configWith('third')];
const nameOf = (config: Config): string => {
  const secret = config.tenants.get('alice')?.keys[0]?.secret;
  return secret?.kind === 'plain' ? secret.value : '';
};

const sourceOf = (key: string): ConfigSource => ({
  root: { tenants: { alice: { keys: [key] } }, listen: key },
  hide: (text) => text,
  file: 'f.yaml',
  digests: new Map(),
});

function world() {
  const clock = { ms: 1_000 };
  const done: string[] = [];
  const events: ServiceEvent[] = [];
  const failing = { prepare: '', apply: '' };
  const reloader = new Reloader<string>(
    first,
    {
      async resolve(config) {
        done.push(`resolve ${nameOf(config)}`);
        await Promise.resolve();
        return `addresses of ${nameOf(config)}`;
      },
      prepare(next, addresses) {
        if (failing.prepare === nameOf(next)) throw new Error('no right to write');
        done.push(`prepare ${nameOf(next)} at ${addresses}`);
      },
      apply(next, _addresses, before) {
        if (failing.apply === nameOf(next)) throw new Error('a bug');
        done.push(`apply ${nameOf(next)} after ${nameOf(before)}, in use: ${nameOf(reloader.config)}`);
      },
    },
    (event) => events.push(event),
    { source: sourceOf('first'), unixMs: () => clock.ms },
  );
  return { reloader, done, events, failing, clock };
}

const PREPARED = ['resolve second', 'prepare second at addresses of second'];

describe('a reload', () => {
  it('looks up names, does what may fail, and then tells everybody of a configuration that is in use', async () => {
    const { reloader, done, events } = world();
    await reloader.reload(second, ['a warning']);
    expect(done).toEqual([...PREPARED, 'apply second after first, in use: second']);
    expect(events).toEqual([{ kind: 'config-reloaded', warnings: ['a warning'], restart: [] }]);
  });

  it('comes after the one before it, and sees what that left', async () => {
    const { reloader, done } = world();
    await Promise.all([reloader.reload(second, []), reloader.reload(third, [])]);
    expect(done).toEqual([
      ...PREPARED,
      'apply second after first, in use: second',
      'resolve third',
      'prepare third at addresses of third',
      'apply third after second, in use: third',
    ]);
  });

  it('that cannot be prepared changes nothing, and the names in use are watched again', async () => {
    const { reloader, done, events, failing } = world();
    failing.prepare = 'second';
    await reloader.reload(second, []);
    expect(done).toEqual(['resolve second', 'resolve first']);
    expect(reloader.config).toBe(first);
    expect(events).toEqual([{ kind: 'config-refused', problems: ['no right to write'] }]);
  });

  it('tells what it changes, by what was in use: not by one that was refused', async () => {
    const { reloader, events, failing } = world();
    failing.prepare = 'second';
    await reloader.reload(second, [], sourceOf('second'));
    await reloader.reload(third, [], sourceOf('third'));
    expect(events.at(-1)).toMatchObject({
      kind: 'config-reloaded',
      changes: ['tenants.alice.keys: - (hidden), + (hidden)', 'listen: first → third'],
    });
  });

  it('that is refused is told with its file and its first time, until one is taken over', async () => {
    const { reloader, failing, clock } = world();
    expect(reloader.refused).toBeUndefined();
    reloader.refuse(['f.yaml:1:1: poools: unknown']);
    clock.ms = 5_000;
    failing.prepare = 'second';
    await reloader.reload(second, [], sourceOf('second'));
    expect(reloader.refused).toEqual({ file: 'f.yaml', sinceMs: 1_000, problems: ['no right to write'] });
    await reloader.reload(third, [], sourceOf('third'));
    expect(reloader.refused).toBeUndefined();
  });

  it('that fails by a bug keeps no later one from being tried', async () => {
    const { reloader, failing } = world();
    failing.apply = 'second';
    await expect(reloader.reload(second, [])).rejects.toThrow('a bug');
    await reloader.reload(third, []);
    expect(reloader.config).toBe(third);
  });

  it('that is being looked up at the end is not taken over, nor is any after it', async () => {
    const { reloader, done } = world();
    const reload = reloader.reload(second, []);
    await Promise.resolve();
    reloader.close();
    await reload;
    await reloader.reload(third, []);
    expect(done).toEqual(['resolve second']);
    expect(reloader.config).toBe(first);
  });
});

describe('tenants that are not in files', () => {
  it('are completed at each reload, and taken over alone without a look at names', async () => {
    const done: string[] = [];
    const made = { keys: 0 };
    let canAnnounce = true;
    const reloader = new Reloader<string>(
      first,
      {
        resolve: async (config) => `addresses of ${nameOf(config)}`,
        prepare: (next) => done.push(`prepare ${nameOf(next)} ${next.queue.maxQueued}`),
        apply: (next) => done.push(`apply ${nameOf(next)} ${next.queue.maxQueued}`),
        applyTenants: () => done.push(`in use ${nameOf(reloader.config)} ${reloader.config.queue.maxQueued}`),
        announceTenants(next) {
          if (!canAnnounce) throw new Error('no room');
          done.push(`tenants ${nameOf(next)} ${next.queue.maxQueued}`);
        },
      },
      () => undefined,
      {
        unixMs: Date.now,
        complete: (files) => ({ ...files, queue: { ...files.queue, maxQueued: made.keys } }),
      },
    );
    expect(reloader.config.queue.maxQueued).toBe(0);
    made.keys = 1;
    await reloader.retake();
    made.keys = 2;
    const reload = reloader.reload(second, []);
    made.keys = 3;
    await Promise.all([reload, reloader.retake()]);
    expect(done).toEqual([
      'in use first 1',
      'tenants first 1',
      'prepare second 3',
      'apply second 3',
      'in use second 3',
      'tenants second 3',
    ]);
    canAnnounce = false;
    made.keys = 7;
    await expect(reloader.retake()).rejects.toThrow('no room');
    // The service goes by them: a key that was revoked opens nothing.
    expect(done.at(-1)).toBe('in use second 7');
    expect(reloader.config.queue.maxQueued).toBe(7);
    canAnnounce = true;
    made.keys = 3;
    await reloader.retake();
    reloader.close();
    made.keys = 4;
    await reloader.retake();
    expect(reloader.config.queue.maxQueued).toBe(3);
  });
});
