/**
 * A pool for copies serves nobody else: whoever got an answer from it would have one that was not meant to be seen, and its
 * engines would be counted on twice.
 */
import { quote } from '../report.ts';
import { durationMs } from '../values.ts';
import { at, entriesAt } from '../written-data.ts';
import type { Check } from './check.ts';

export function checkMirrors({ root, report, hide }: Check): void {
  const models = entriesAt(root, 'models');
  const isPicker = at(root, 'mode') === 'endpoint-picker';
  const durations = new Map<string, { readonly model: string; readonly ms: number | undefined }>();
  for (const [model, settings] of models) {
    const mirror = at(settings, 'mirror');
    if (mirror === undefined) continue;
    const path = ['models', model, 'mirror'];
    if (isPicker) {
      report.problem(
        path,
        'needs mode: sidecar; with an endpoint picker the gateway sends the requests: copy them there (HTTPRoute: RequestMirror)',
        'key',
      );
    }
    const pool = at(mirror, 'pool');
    if (typeof pool !== 'string') continue;
    const where = [...path, 'pool'];
    const shown = quote(hide(pool));
    const server = models.find(([, other]) => at(other, 'pool') === pool)?.[0];
    if (pool === at(settings, 'pool')) report.problem(where, 'is the model’s own pool; name another one');
    else if (server !== undefined) {
      const by = quote(hide(server));
      report.problem(where, `pool ${shown} serves the model ${by}; copies need a pool that serves nobody`);
    }
    if (at(root, 'envoy', 'fallbackPool') === pool) {
      report.problem(
        where,
        `pool ${shown} is envoy.fallbackPool, which answers clients; name another one there`,
      );
    }
    const written = at(mirror, 'maxDuration') ?? '60s';
    const ms = typeof written === 'string' ? durationMs(written) : undefined;
    const first = durations.get(pool);
    if (first === undefined) durations.set(pool, { model, ms });
    else if (first.ms !== ms) {
      const other = quote(hide(first.model));
      report.problem(
        path,
        `has another maxDuration than the model ${other} for the same pool ${shown}; write the same in both`,
        'key',
      );
    }
  }
}
