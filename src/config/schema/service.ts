/** `service`: Fairlane’s own addresses and its end. */
import { serviceAddress } from '../values.ts';
import { anyHostPort, duration, name, parsed, section } from './dsl.ts';

export const service = section(
  {
    address: parsed(
      serviceAddress,
      'unix:PATH or host:port, for example unix:ext-proc.sock or 127.0.0.1:9000',
      '`unix:PATH` or `host:port`',
      'Where Fairlane listens for Envoy. A relative path lies in `envoy.directory`.',
    ).prefault('unix:ext-proc.sock'),
    metrics: anyHostPort(
      'host:port with a port from 1 to 65535, for example 127.0.0.1:9464 or [::1]:9464',
      'Where `/metrics` and the health checks are served.',
    ).prefault('127.0.0.1:9464'),
    drainTimeout: duration(
      '0s',
      '1h',
      '10s',
      'Time that running requests have to end when Fairlane stops.',
    ).prefault('10s'),
    zone: name(
      'Zone that this replica and its Envoy are in: requests prefer endpoints of the same zone in `pools.NAME.choice.zones`. Default: none.',
    ).optional(),
  },
  'Fairlane’s own service.',
).prefault({});
