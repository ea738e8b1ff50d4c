/** What `fairlane doctor` asks a service that runs with the configuration. */
import type { Config, ServiceAddress } from '../config/config.ts';
import { messageOf } from '../domain/text-of.ts';
import { askText } from '../engine/http-probe.ts';
import { healthFindings, refusedFindings, type Tell } from './doctor-findings.ts';
import { askServing } from './grpc-health.ts';

const SERVICE_TIMEOUT_MS = 2_000;

interface ServiceHealth {
  readonly status?: string;
  /** `connected` or `away`; absent without Redis. */
  readonly redis?: string;
}

/** Whether Envoy could ask it. */
async function checkGrpc(address: ServiceAddress, tell: Tell): Promise<void> {
  const host = address.kind === 'tcp' && address.host.includes(':') ? `[${address.host}]` : undefined;
  const target = address.kind === 'unix' ? `unix:${address.path}` : `${host ?? address.host}:${address.port}`;
  try {
    const status = await askServing(target, SERVICE_TIMEOUT_MS);
    tell(status === 'SERVING' ? 'ok' : 'warning', `gRPC on ${target}: ${status}`);
  } catch (error) {
    const why = messageOf(error);
    tell(
      'problem',
      `gRPC on ${target}: ${why}; was the service started with another service.address, or is the socket another user's?`,
    );
  }
}

/** What a service that runs with this configuration says of itself. */
export async function checkService(
  { metrics: { host, port }, address }: Config['service'],
  tell: Tell,
): Promise<void> {
  let answer: { readonly status: number; readonly body: string };
  try {
    answer = await askText({ url: '', host, port }, '/health', SERVICE_TIMEOUT_MS);
  } catch {
    tell('ok', `no service answers on ${host}:${port}: nothing to say of its concurrency limits`);
    return;
  }
  let health: ServiceHealth;
  try {
    health = JSON.parse(answer.body) as ServiceHealth;
    if (typeof health !== 'object' || health === null) throw new Error('it is no object');
  } catch {
    tell('problem', `${host}:${port} answers, but is no Fairlane: choose another service.metrics`);
    return;
  }
  tell(
    health.status === 'ok' ? 'ok' : 'warning',
    `service on ${host}:${port}: ${health.status ?? 'unknown'}`,
  );
  for (const finding of refusedFindings(health)) tell(finding.level, finding.text);
  await checkGrpc(address, tell);
  if (health.redis !== undefined) {
    const isThere = health.redis === 'connected';
    tell(
      isThere ? 'ok' : 'warning',
      isThere
        ? 'Redis: connected'
        : 'Redis: away; limits are decided alone with redis.failureShare of each, the service logs why',
    );
  }
  for (const { level, text } of healthFindings(health)) tell(level, text);
}
