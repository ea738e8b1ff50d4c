/** Pieces of PromQL that several panels and rules have in common. */

/** @param selector within the braces. */
export const rateOf = (metric: string, selector = ''): string =>
  `rate(${metric}${selector === '' ? '' : `{${selector}}`}[$__rate_interval])`;

export const sumBy = (labels: string, expr: string): string => `sum by (${labels}) (${expr})`;
export const maxBy = (labels: string, expr: string): string => `max by (${labels}) (${expr})`;

/** Of a histogram, over all replicas. @param by a label that stays. */
export const quantile = (q: number, histogram: string, by: string, selector: string): string =>
  `histogram_quantile(${q}, sum by (le, ${by}) (${rateOf(`${histogram}_bucket`, selector)}))`;

export const meanBy = (labels: string, histogram: string, selector: string): string =>
  `${sumBy(labels, rateOf(`${histogram}_sum`, selector))} / ${sumBy(labels, rateOf(`${histogram}_count`, selector))}`;

export const TENANT = 'tenant=~"$tenant"';
export const TENANT_MODEL = 'tenant=~"$tenant",model=~"$model"';
export const POOL = 'pool=~"$pool"';
