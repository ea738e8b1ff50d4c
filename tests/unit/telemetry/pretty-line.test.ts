/** The log for people. */
import { describe, expect, it } from 'vitest';
import { createLog, type LogStyle } from '../../../src/telemetry/pino-log.ts';
import { prettyLine } from '../../../src/telemetry/pretty-line.ts';
import type { ServiceEvent } from '../../../src/telemetry/telemetry.ts';

const lineOf = (event: ServiceEvent, style: LogStyle = { isPretty: true, colour: false }): string => {
  let text = '';
  createLog('info', { write: (line: string) => void (text += line) }, style).event(event);
  return text;
};
const health = { kind: 'endpoint-health', pool: 'main', endpoint: 'http://e:1', healthy: false } as const;

describe('a pretty line', () => {
  it('has time, severity, what happened, and fields', () => {
    expect(lineOf({ ...health, detail: 'GET /health: 500' })).toMatch(
      /^\d\d:\d\d:\d\d\.\d{3} WARN  endpoint-health pool=main endpoint=http:\/\/e:1 healthy=false detail="GET \/health: 500"\n$/,
    );
  });

  it('has sentences on lines of their own, and no empty list', () => {
    const changes = ['queue.maxWait: 1s → 2s', 'tenants.bob: added'];
    const text = lineOf({ kind: 'config-reloaded', changes, warnings: [], restart: ['listen'] });
    expect(text.slice(13)).toBe(
      'INFO  config-reloaded restart=["listen"]\n  changes: queue.maxWait: 1s → 2s\n  changes: tenants.bob: added\n',
    );
  });

  it('has colours only where they are asked for', () => {
    const event = { ...health, detail: 'x' };
    expect(lineOf(event)).not.toContain('\u001b');
    expect(lineOf(event, { isPretty: true, colour: true })).toContain('\u001b[33mWARN \u001b[0m');
    expect(lineOf(event, { isPretty: false, colour: true })).not.toContain('\u001b');
  });

  it('does nothing to a terminal that it was not asked for, whatever a name is', () => {
    const text = lineOf({ ...health, pool: '\u001b[2J\n\u202e', detail: 'a "b"\nc' });
    expect(text).not.toMatch(/[\p{C}](?!$)/u);
    expect(text).toContain('pool=\\u001b[2J\\n\\u202e');
  });

  it('is the line itself where that is no JSON', () => {
    for (const line of ['', 'x\n', '[1]', '{"a":']) expect(prettyLine(line, false)).toBe(line);
  });
});
