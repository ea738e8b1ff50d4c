/** What `fairlane start` says of where things are is so. */
import { describe, expect, it } from 'vitest';
import { startBanner } from '../../../src/cli/start-banner.ts';
import { hostPortText } from '../../../src/domain/host-port.ts';
import { configOf, minimal } from '../config/parse.ts';

const said = (service: object, loadLine?: (api: string) => string): string =>
  startBanner({
    config: configOf({ ...minimal(), service }),
    metricsPort: 9464,
    warning: undefined,
    ...(loadLine !== undefined && { loadLine }),
  });

describe('the console', () => {
  it.each([
    [{}, 'http://127.0.0.1:9464/'],
    [{ console: 'on' }, 'http://127.0.0.1:9464/'],
    [{ console: 'off' }, undefined],
    [{ metrics: '0.0.0.0:9464' }, undefined],
    [{ metrics: '0.0.0.0:9464', console: 'on' }, 'http://127.0.0.1:9464/'],
    [{ metrics: '[::]:9464', console: 'on' }, 'http://[::1]:9464/'],
    [{ metrics: '[::1]:9464' }, 'http://[::1]:9464/'],
  ])('with %j is at %s', (service, address) => {
    expect(/^ {2}console {2}(.*)$/m.exec(said(service))?.[1]).toBe(address);
  });
});

it('the demo has its tenants’ commands and the line that sends load; others have neither', () => {
  const demo = said({}, (api) => `load ${api}`);
  expect([demo.match(/Hello from \w+/g), demo.includes('load http')]).toEqual([
    ['Hello from quiet', 'Hello from noisy'],
    true,
  ]);
  expect(said({})).not.toContain('curl');
});

it('an IPv6 address is in brackets before its port', () => {
  expect(['::1', '127.0.0.1', 'name'].map((host) => hostPortText({ host, port: 1 }))).toEqual([
    '[::1]:1',
    '127.0.0.1:1',
    'name:1',
  ]);
});
