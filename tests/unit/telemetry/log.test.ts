/** The log as it is written: nothing in a name that a client, an engine or a file has chosen does anything to who looks at it. */
import { describe, expect, it } from 'vitest';
import { createLog } from '../../../src/telemetry/pino-log.ts';

const logged = (fields: {
  readonly pool?: string;
  readonly detail?: string;
  readonly problems?: string[];
}) => {
  let text = '';
  const log = createLog('info', { write: (line: string) => void (text += line) });
  if (fields.problems === undefined) {
    log.event({
      kind: 'endpoint-health',
      pool: '',
      endpoint: 'http://e',
      healthy: true,
      detail: '',
      ...fields,
    });
  } else log.event({ kind: 'config-refused', problems: fields.problems });
  return { text, read: JSON.parse(text) as Record<string, unknown> };
};

describe('the log', () => {
  it.each([
    ['\u001b]0;title\u0007', '\\u001b]0;title\\u0007'],
    ['\u009b31m', '\\u009b31m'],
    ['\u202egnp.exe', '\\u202egnp.exe'],
    ['a\u2028b', 'a\\u2028b'],
    ['a\nb\r\tc', 'a\\nb\\r\\tc'],
    ['\ud800', '\\ud800'],
    ['\u200b\ufeff\u2066', '\\u200b\\ufeff\\u2066'],
    ['\u{e0041}', '\\udb40\\udc41'],
    ['a\\u202e', 'a\\u202e'],
    ['"quoted" \\ back', '"quoted" \\ back'],
    ['é 日本 🙂', 'é 日本 🙂'],
  ])('writes %j so that it reads %s', (name, read) => {
    const line = logged({ pool: name, detail: name });
    expect(line.text).not.toMatch(/[\p{C}\p{Zl}\p{Zp}](?!$)/u);
    expect(line.text.endsWith('}\n')).toBe(true);
    expect(line.read).toMatchObject({ pool: read, detail: read, message: 'endpoint-health' });
  });

  it('cuts what is long, and lists too', () => {
    const long = logged({ detail: 'x\u202e'.repeat(1_000_000) });
    expect(long.text.length).toBeLessThan(20_000);
    expect(long.read['detail']).toMatch(/^(x\\u202e){512}… \(1998976 more\)$/);
    const many = logged({ problems: Array.from({ length: 10_000 }, (_, i) => `problem ${i}`) });
    expect((many.read['problems'] as string[]).length).toBe(101);
    expect((many.read['problems'] as string[]).at(-1)).toBe('and 9900 more');
    const one = 'y'.repeat(10_000);
    expect(logged({ detail: one }).read['detail']).toBe(one);
  });
});
