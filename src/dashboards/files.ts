/** What `npm run docs` writes into observability/. */
import { stringify } from 'yaml';
import { ENGINES } from './engines.ts';
import { ENVOY } from './envoy.ts';
import { FAIRNESS } from './fairness.ts';
import { type Dashboard, grafanaJson } from './panel.ts';
import { alertsYaml, HEAD, prometheusYaml, recordingYaml } from './rules.ts';
import { SERVICE } from './service.ts';
import { TENANTS } from './tenants.ts';

export const DASHBOARDS: readonly Dashboard[] = [FAIRNESS, TENANTS, ENGINES, ENVOY, SERVICE];

const datasources = (): string =>
  HEAD +
  stringify({
    apiVersion: 1,
    datasources: [
      {
        name: 'Prometheus',
        uid: 'prometheus',
        type: 'prometheus',
        url: 'http://prometheus:9090',
        isDefault: true,
      },
    ],
  });

const providers = (): string =>
  HEAD +
  stringify({
    apiVersion: 1,
    providers: [
      {
        name: 'Fairlane',
        folder: 'Fairlane',
        type: 'file',
        allowUiUpdates: false,
        options: { path: '/var/lib/grafana/dashboards' },
      },
    ],
  });

/** By path. */
export const observabilityFiles = (): ReadonlyMap<string, string> =>
  new Map([
    ...DASHBOARDS.map((one) => [`observability/grafana/${one.uid}.json`, grafanaJson(one)] as const),
    ['observability/grafana/provisioning/datasources/prometheus.yaml', datasources()],
    ['observability/grafana/provisioning/dashboards/fairlane.yaml', providers()],
    ['observability/prometheus/prometheus.yaml', prometheusYaml()],
    ['observability/prometheus/recording.yaml', recordingYaml()],
    ['observability/prometheus/alerts.yaml', alertsYaml()],
  ]);
