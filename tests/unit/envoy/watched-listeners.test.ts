import { describe, expect, it } from 'vitest';
import { ADMIN_PATHS, adminOf } from '../../../src/envoy/admin.ts';
import { bootstrapOf } from '../../../src/envoy/bootstrap.ts';
import { withWatchedListeners } from '../../../src/envoy/watched-listeners.ts';
import { createWorld } from '../../support/lifecycle.ts';

const { config } = createWorld();

describe('a bootstrap whose listeners come from a file', () => {
  const { bootstrap, listeners, names } = withWatchedListeners(bootstrapOf(config), '/run/x');

  it('has none itself, and is the same otherwise', () => {
    const before = bootstrapOf(config);
    expect(bootstrap).toMatchObject({
      node: { id: 'fairlane', cluster: 'fairlane' },
      dynamic_resources: {
        cds_config: {},
        lds_config: { path_config_source: { path: '/run/x/listeners.json' } },
      },
    });
    expect(Object.keys(bootstrap['static_resources'] as object)).toEqual(['clusters']);
    expect({ ...bootstrap, static_resources: 0, dynamic_resources: 0 }).toEqual({
      ...before,
      static_resources: 0,
      dynamic_resources: 0,
    });
  });

  it('has them in the file, with their type', () => {
    expect(names).toEqual(['fairlane']);
    expect(listeners).toMatchObject({
      resources: [{ '@type': 'type.googleapis.com/envoy.config.listener.v3.Listener', name: 'fairlane' }],
    });
  });

  it('gets a node where it had none, and keeps the one that it had', () => {
    expect(withWatchedListeners({}, '/x').bootstrap['node']).toEqual({ id: 'fairlane', cluster: 'fairlane' });
    const mine = withWatchedListeners({ node: { id: 'a', cluster: 'b', metadata: {} } }, '/x');
    expect(mine.bootstrap['node']).toEqual({ id: 'a', cluster: 'b', metadata: {} });
  });
});

describe('Envoy’s admin page', () => {
  const allows = (path: string): boolean =>
    (adminOf(config.envoy.admin)['allow_paths'] as readonly { safe_regex: { regex: string } }[]).some(
      ({ safe_regex: { regex } }) => new RegExp(`^(?:${regex})$`).test(path),
    );

  it('allows what reads, with a query or without', () => {
    for (const path of ADMIN_PATHS)
      for (const query of ['', '?', '?format=json']) expect(allows(path + query)).toBe(true);
  });

  it.each([
    '/quitquitquit',
    '/logging',
    '/logging?level=trace',
    '/drain_listeners',
    '/healthcheck/fail',
    '/runtime_modify',
    '/reset_counters',
    '/reopen_logs',
    '/tap',
    '/heap_dump',
    '/cpuprofiler',
    '/stats/recentlookups/enable',
    '/stats/../quitquitquit',
    '//quitquitquit',
    '/ready/',
    '/Stats',
    '',
  ])('does not allow %s', (path) => {
    expect(allows(path)).toBe(false);
  });

  it('may be a socket for its owner', () => {
    expect(adminOf({ path: '/run/x/admin.sock' })).toMatchObject({
      address: { pipe: { path: '/run/x/admin.sock', mode: 0o600 } },
    });
  });
});
