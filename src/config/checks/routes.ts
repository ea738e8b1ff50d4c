/** `routes`: no path that is somebody else's. */
import { reasonAgainst } from '../../domain/engine-orders.ts';
import {
  API_ROUTES,
  MODEL_ROUTES,
  modelsRouteOf,
  namesResponses,
  pathsOf,
  ROUTES,
} from '../../domain/routes.ts';
import { didYouMean, quote } from '../report.ts';
import { at, entriesAt } from '../written-data.ts';
import type { Check } from './check.ts';

const OURS: ReadonlySet<string> = new Set(API_ROUTES.flatMap(pathsOf));

function problemOfPath(path: string): string | undefined {
  if (OURS.has(path) || modelsRouteOf('GET', path) !== undefined || namesResponses(path))
    return 'is a path of the API, which Fairlane serves itself';
  const reason = reasonAgainst(path);
  return reason && `is no path for tenants: ${reason}`;
}

export function checkRoutes({ root, report, hide }: Check): void {
  const names = (section: string): readonly string[] => entriesAt(root, section).map(([name]) => name);
  const models = names('models');
  const usable = [...models, ...names('adapters'), ...names('aliases')];
  const served = new Set(
    entriesAt(root, 'models').flatMap(([, model]) => [at(model, 'pool'), at(model, 'mirror', 'pool')]),
  );
  const isDiscovering = names('pools').some((pool) => !served.has(pool));
  const taken = new Map<string, string>();
  for (const [name, route] of entriesAt(root, 'routes')) {
    const where = ['routes', name];
    if (Object.hasOwn(ROUTES, name) || Object.hasOwn(MODEL_ROUTES, name))
      report.problem(where, 'is the name of a route of the API; choose another one');
    const path = at(route, 'path');
    const method = at(route, 'method') === 'GET' ? 'GET' : 'POST';
    const body = at(route, 'body') ?? 'json';
    const model = at(route, 'model');
    if (typeof path === 'string') {
      const problem = problemOfPath(path);
      if (problem !== undefined) report.problem([...where, 'path'], problem);
      const other = taken.get(`${method} ${path}`);
      if (other !== undefined) {
        report.problem([...where, 'path'], `is that of the route ${quote(other)}; one of them is enough`);
      }
      taken.set(`${method} ${path}`, name);
    }
    if (method === 'GET' && body !== 'none') {
      report.problem([...where, 'body'], 'must be none: a GET has no body');
    }
    if (body === 'none' && model === undefined) {
      report.problem(
        [...where, 'model'],
        'is missing; without a body nothing else says which model it is for',
      );
    }
    if (typeof model === 'string' && models.length > 0 && !isDiscovering && !usable.includes(model)) {
      report.problem(
        [...where, 'model'],
        `there is no model ${quote(hide(model))}${didYouMean(model, usable) || '; add it under models, or name one that is there'}`,
      );
    }
  }
}
