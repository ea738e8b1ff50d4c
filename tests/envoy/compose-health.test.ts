/** The health checks of docker-compose.yml, run as they stand, against what they check. */
import { expect, it } from 'vitest';
import { startSimulator } from '../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../src/simulator/profile.ts';
import { healthCheck } from '../support/compose.ts';
import { startStack } from '../support/stack.ts';

it('the health checks pass while all is well, and fail when nobody answers', async () => {
  const engine = await startSimulator({ profile: parseProfile('test', {}), models: ['demo'] });
  const stack = await startStack({ engines: [engine.url] });
  const { envoy, service } = stack.config;
  const adminPort = 'port' in envoy.admin ? envoy.admin.port : 0;
  expect(await healthCheck('envoy', adminPort, 9901)).toBe(0);
  expect(await healthCheck('fairlane', service.metrics.port, 9464)).toBe(0);
  expect(await healthCheck('simulator', engine.port, 8000)).toBe(0);
  await stack.close();
  await engine.close();
  expect(await healthCheck('envoy', adminPort, 9901)).not.toBe(0);
  expect(await healthCheck('fairlane', service.metrics.port, 9464)).not.toBe(0);
  expect(await healthCheck('simulator', engine.port, 8000)).not.toBe(0);
});
