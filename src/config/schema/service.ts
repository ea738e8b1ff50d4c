/** `service`: Fairlane’s own addresses and its end. */
import { CONSOLE_MODES } from '../console.ts';
import { dnsServer, serviceAddress } from '../values.ts';
import {
  anyHostPort,
  choice,
  duration,
  filePath,
  name,
  openList,
  parsed,
  section,
  serverCertificate,
} from './dsl.ts';

const dns = section(
  {
    refresh: duration(
      '500ms',
      '10m',
      '5s',
      'Between two looks at a name. What it stands for is followed: each of its addresses is an endpoint.',
    ).prefault('5s'),
    servers: openList(
      parsed(
        dnsServer,
        'an IP address, with a port or without, for example 10.96.0.10 or 10.96.0.10:53',
        '`ip` or `ip:port`',
        'A DNS server.',
      ),
      8,
      'DNS servers',
      'Who is asked for A and AAAA records. Names are then whole ones: neither `/etc/hosts` nor search domains count. Default: as the system looks names up.',
    ).prefault([]),
  },
  'How the host names of endpoints are looked up.',
).prefault({});

const tls = section(
  {
    ...serverCertificate,
    clientCa: filePath(
      'tls/gateways.pem',
      'Authorities (PEM) of gateways: each must show a certificate from one of them. For `mode: endpoint-picker`. Default: none is asked for.',
    ).optional(),
  },
  'TLS from version 1.2 at `service.address`. In plain text only health is then told there. Default with `mode: endpoint-picker`: both are taken, TLS with a certificate of Fairlane’s own that is made at each start, and plain text; with `sidecar`: plain text. A sidecar’s Envoy takes exactly this certificate.',
);

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
    console: choice(
      CONSOLE_MODES,
      'Whether the console is served there: `on`; `off`; `auto`, where `metrics` is a loopback address. It shows who asked for which model, and when.',
    ).prefault('auto'),
    drainTimeout: duration(
      '0s',
      '1h',
      '10s',
      'Time that running requests have to end when Fairlane stops.',
    ).prefault('10s'),
    zone: name(
      'Zone that this replica and its Envoy are in: requests prefer endpoints of the same zone in `pools.NAME.choice.zones`. Default: none.',
    ).optional(),
    dns,
    tls: tls.optional(),
  },
  'Fairlane’s own service.',
).prefault({});
