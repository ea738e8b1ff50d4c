/** docs/runbooks.md: what to do about each alert. */
import { ALERTS, type Alert } from './alerts.ts';
import { anchorOf } from './rules.ts';

/** How to see more, and what to do. By the alert's name: the type holds both together. */
export const STEPS: Readonly<Record<string, readonly string[]>> = {
  FairlaneDown: [
    'Look at the log of the service: the last line says why it ended.',
    'Run `fairlane check-config` with its configuration: a bad one keeps it from starting.',
    'Start it. Envoy uses it again with the next request.',
  ],
  FairlaneEnvoyDown: [
    'Look at Envoy’s log; after a change of the bootstrap run `envoy --mode validate -c FILE`.',
    'If only its admin page cannot be reached, mend the address that Prometheus asks.',
  ],
  FairlaneStreamsFail: [
    'Is there a [FairlaneDown](#fairlanedown), or a [FairlaneSlowEventLoop](#fairlanesloweventloop)? Mend that.',
    'The dashboard Envoy says whether streams break off or answers come too late (timeouts).',
    'If the service is well, look at the socket or network between the two: `fairlane doctor`.',
  ],
  FairlaneEnvoyHeap: [
    'The dashboard Envoy has connections and heap. Large uploads and slow readers hold most.',
    'Raise `envoy.maxHeapSize` where there is memory, or add an Envoy.',
  ],
  FairlaneCertificateEnds: [
    '`/certs` of Envoy’s admin page says which.',
    'Renew it. New files are taken up without a restart ([TLS](how-to/tls.md)).',
  ],
  FairlaneFailsOpen: [
    'Mend the service first: see [FairlaneDown](#fairlanedown).',
    'If it runs, `fairlane doctor` says whether Envoy reaches its socket.',
    'If refusing is better for you than passing, set `envoy.failureMode: closed`.',
  ],
  FairlaneServerErrors: [
    'The dashboard Tenants has answers by status, and refusals by reason. The log has each one’s endpoint.',
    'Engines fail: look at their logs, and drain the one that does (`fairlane drain ENDPOINT`).',
    'None serves: go on with [FairlaneNoEndpoint](#fairlanenoendpoint).',
  ],
  FairlaneNoEndpoint: [
    '`fairlane status` shows each endpoint and what its probes say.',
    'Start an engine, or end a drain with `fairlane drain ENDPOINT --undo`.',
  ],
  FairlaneEndpointUnhealthy: [
    '`fairlane status` shows what its probes say.',
    'Ask the engine itself: `curl ENDPOINT/health`. If it is gone for good, take it out of `pools`.',
  ],
  FairlaneEndpointEjected: [
    'Look at the engine’s log: it answers probes and fails requests.',
    '`fairlane drain ENDPOINT` keeps requests away while you restart it.',
  ],
  FairlaneSaturated: [
    'The dashboard Fairness shows whether tenants below their share wait: they should not.',
    'Add engines ([autoscaling](how-to/autoscaling.md)), or lower what the largest tenants may use.',
  ],
  FairlaneLongWait: [
    '`fairlane top` shows who waits in which lane.',
    'Is its weight too low, its `maxConcurrent` reached, or does it ask for long prompts in a slow lane?',
  ],
  FairlaneWaitsBelowShare: [
    '`fairlane explain REQUEST.json --tenant NAME` says what a request of it waits for.',
    'Usual causes: its own `maxConcurrent`, a pool of its own that is full, an adapter that has to be loaded.',
    'If none of them is, report it, with what `explain` said.',
  ],
  FairlaneCanaryRolledBack: [
    'The label gate says in what it was worse: failures or ttft. `/health` and the log have the figures.',
    'Mend it, then change a setting of the canary: another `salt` is enough ([changes](how-to/changes.md)).',
  ],
  FairlaneStreamErrors: ['Look for `stream-failed` in the log, and report it with the lines around it.'],
  FairlaneConfigRefused: [
    '`/health` and the log name each problem and its line.',
    'Mend the file. It is read again when it changes.',
  ],
  FairlaneRedisAway: [
    'Start Redis, or mend the network. Replicas come back by themselves.',
    'Meanwhile each grants `redis.failureShare` of the limits.',
  ],
  FairlaneTenantStoreAway: [
    'The log’s `tenant-store` says what it answered.',
    'Bring the store back ([tenants](tenants.md)). Until then no key can be made or revoked.',
  ],
  FairlaneLedgerBehind: [
    'Is the database there, and its disk not full? The log’s `ledger-away` says what it answered.',
    '`fairlane ledger check` says whether what is there is whole.',
  ],
  FairlaneLedgerLost: [
    'Free disk space where the spool is, and mend the database.',
    'The log still has a line for each request: what is missing can be counted from it.',
  ],
  FairlaneBudgetNearlySpent: [
    'Tell the tenant. It can be told by itself: `budgetAlerts` and [webhooks](billing.md).',
    'Raise the budget, if it is to go on.',
  ],
  FairlaneBudgetSpent: ['Tell the tenant, or raise the budget for a time: [budgets](billing.md).'],
  FairlaneWebhooksDropped: ['Ask whose receiver it is. Dropped events are in the log.'],
  FairlaneOddUsage: [
    'The log’s `engine-usage-odd` names the endpoint. Is the engine’s version known to be wrong?',
    '[What is believed](reference/metering.md) says what is estimated instead.',
  ],
  FairlaneSlowEventLoop: [
    'Is the machine full? Fairlane needs a core of its own under load.',
    'With more than 200 tenants leave `telemetry.tenantHistograms` at `auto`.',
  ],
};

const LINE = 110;

/** Names of labels in place of their values. */
const named = (text: string): string =>
  text.replaceAll(/\{\{ \$(?:labels\.)?(\w+)[^}]*\}\}/g, (_, name: string) => `*${name}*`);

function wrapped(text: string): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + word.length >= LINE) {
      lines.push(line);
      line = '';
    }
    line += line === '' ? word : ` ${word}`;
  }
  return [...lines, line].join('\n');
}

const section = ({ alert, severity, summary, description, for: time }: Alert): string => `## ${alert}

${wrapped(`${severity}, after ${time}: ${named(summary)}. ${named(description)}`)}

${(STEPS[alert] ?? []).map((step) => `- ${step}`).join('\n')}
`;

/** Every alert has a section, which its `runbook_url` names. */
export const runbooksPage = (): string => `# Runbooks

<!-- Generated by \`npm run docs\`. Do not edit. -->

What to do about the alerts of [observability/prometheus/alerts.yaml](../observability/prometheus/alerts.yaml).
\`page\`: somebody looks now. \`ticket\`: within days. The dashboards are in [observability](observability.md).

Commands are run where the service runs, with \`--config\` and the variables that the configuration names:

| service | command |
|---|---|
| [systemd](install/systemd.md) | \`sudo sh -c 'set -a; . /etc/fairlane/fairlane.env; fairlane … --config /etc/fairlane/fairlane.yaml'\` |
| [Compose](install/compose.md) | \`docker compose exec fairlane node dist/cli/index.js … --config /etc/fairlane/fairlane.yaml\` |
| [Kubernetes](install/kubernetes.md) | \`kubectl exec POD -c fairlane -- node dist/cli/index.js … --config /etc/fairlane/config/fairlane.yaml\` |

\`drain\` and \`explain\` are refused where \`service.metrics\` is not on a loopback address, so in containers: drain there
by [\`pools.NAME.drain\`](how-to/changes.md#drains) in the configuration.

Two limits of these alerts. One that counts events tells once more, for its window, of what it counted before Prometheus
was away for longer than that. And \`up\` has no value for a target that nobody configured: no alert says that one lacks.

${ALERTS.map(({ alert }) => `[${alert}](#${anchorOf(alert)})`).join(' ·\n')}

${ALERTS.map(section).join('\n')}`;
