import { describe, expect, it } from 'vitest';
import { plainTexts } from '../../support/plain-key.ts';
import { configOf, minimal, parse, problemsOf, type Settings, type Surroundings } from './parse.ts';

const settings = (): Settings => ({
  ...minimal(),
  tiers: { gold: { weight: 2 } },
  tenantDirectory: 'tenants.d',
});
const bob = 'keys: [key-of-bob]\n';

const loaded = (tenants: Record<string, string>, more: Surroundings = {}) => {
  const parsed = parse(settings(), { ...more, tenants });
  if (parsed.kind === 'bad') throw new Error(parsed.problems.join('\n'));
  return parsed;
};
const refused = (tenants: Record<string, string>, more?: Surroundings) =>
  loaded(tenants, more).config.refusedTenantFiles;

describe('a file of a tenant', () => {
  it('is a tenant, named by the file or by name', () => {
    const { config, warnings } = loaded(
      {
        'bob.yaml': `${bob}tier: gold\nlimits: { requestsPerMinute: 5 }\n`,
        'c.yml': 'name: carol\nkeys: [env:CAROL_KEY, file:carol.key]\n',
      },
      { env: { CAROL_KEY: 'key-of-carol' }, files: { '/etc/carol.key': 'next-key-of-carol' } },
    );
    expect([...config.tenants.keys()]).toEqual(['alice', 'bob', 'carol']);
    expect(config.tenants.get('bob')).toMatchObject({
      tier: 'gold',
      limits: { weight: 2, requestsPerMinute: 5 },
    });
    expect(plainTexts(config.tenants.get('carol')?.keys)).toEqual(['key-of-carol', 'next-key-of-carol']);
    expect([config.refusedTenantFiles, warnings]).toEqual([[], []]);
  });

  it.each([
    ['', 'x.yaml: is empty'],
    ['just words', 'is not a mapping of settings'],
    ['keys: ["env:NEXT_KEY?"]', 'a key of a tenant (not in a file of tenantDirectory)'],
    ['keys: ["file:next.key?"]', 'a key of a tenant (not in a file of tenantDirectory)'],
    ['keys: [key-of-x', 'close the bracket'],
    ['keys: &a [*a]', ''],
    ['tier: gold', 'keys: is missing'],
    ['keys: [key-of-x-xx]\ntier: silver', 'x.yaml:2:7: tier: there is no tier "silver"'],
    ['keys: [key-of-x-xx]\nlimit: {}', 'limit: unknown setting; did you mean "limits"?'],
    ['keys: [env:NOT_SET]', 'keys[0]: environment variable NOT_SET is not set'],
    ['keys: [file:gone]', 'keys[0]: cannot read /etc/gone (no such file)'],
    ['keys: [key-of-alice]', 'tenant "alice" has the same key already'],
    ['name: alice\nkeys: [key-of-x-xx]', 'tenant "alice" is in the configuration already'],
    ['name: a b\nkeys: [key-of-x-xx]', 'the name must be'],
    ['name: 7\nkeys: [key-of-x-xx]', 'x.yaml:1:7: name: must be'],
    ['name: __proto__\nkeys: [key-of-x-xx]', 'name'],
    ['keys: [key-of-x-xx]\nlimits: { maxHeldSize: 1KiB }', 'is smaller than envoy.maxBodySize'],
    ['keys: key-of-x-xx', 'keys: must be a list of 1 to 64 keys'],
    ['[1, 2]', 'is not a mapping'],
    ['keys: [key-of-x-xx]\n---\nkeys: [key-of-y-yy]', 'second document'],
    ['['.repeat(20_000), ''],
  ])('%j is refused alone, and named', (text, problem) => {
    const config = loaded({ 'bob.yaml': bob, 'x.yaml': text }, { env: {}, files: {} }).config;
    expect([...config.tenants.keys()]).toEqual(['alice', 'bob']);
    const [one, ...others] = config.refusedTenantFiles;
    expect(others).toEqual([]);
    expect(one).toMatchObject({ file: '/etc/tenants.d/x.yaml', isKept: false });
    expect(one?.problems.join('\n')).toContain(problem);
    expect(one?.problems.join('\n')).toContain('/etc/tenants.d/x.yaml:');
    expect(one?.problems.join('\n')).not.toMatch(/key-of-[xy]-/);
  });

  it('that comes first by its name has a name or key that two have', () => {
    const files = {
      'b.yaml': 'name: same\nkeys: [key-of-b-bb]',
      'a.yaml': 'name: same\nkeys: [key-of-a-aa]',
    };
    expect(plainTexts(loaded(files).config.tenants.get('same')?.keys)).toEqual(['key-of-a-aa']);
    expect(refused(files)[0]?.problems.join()).toMatch(
      /b\.yaml:1:7: name: tenant "same" is in \S*a\.yaml already/,
    );
    const keys = { 'a.yaml': bob, 'b.yaml': bob };
    expect(refused(keys)[0]?.problems.join()).toContain(
      'b.yaml:1:8: keys[0]: tenant "a" has the same key already',
    );
  });

  it('that became bad is served as it was before', () => {
    const before = new Map([['/etc/tenants.d/bob.yaml', bob]]);
    const { config, tenantTexts } = loaded({ 'bob.yaml': 'keys: [' }, { before });
    expect(plainTexts(config.tenants.get('bob')?.keys)).toEqual(['key-of-bob']);
    expect(config.refusedTenantFiles).toMatchObject([{ isKept: true }]);
    expect(tenantTexts).toEqual(before);
    // But not where that is not right any more.
    const taken = new Map([['/etc/tenants.d/bob.yaml', 'keys: [key-of-alice]']]);
    expect(refused({ 'bob.yaml': 'keys: [' }, { before: taken })).toMatchObject([{ isKept: false }]);
  });

  it('that is gone takes its tenant along', () => {
    const before = new Map([['/etc/tenants.d/bob.yaml', bob]]);
    expect([...loaded({}, { before }).config.tenants.keys()]).toEqual(['alice']);
  });

  it('may be one that lanes, adapters and the picker name', () => {
    const named = { ...settings(), lanes: { first: { when: [{ tenants: ['bob'] }] }, rest: {} } };
    expect(configOf(named, { tenants: { 'bob.yaml': bob } }).queue.lanes.size).toBe(2);
    expect(problemsOf(named, { tenants: {} }).join()).toContain('there is no tenant "bob"');
  });

  it('is not needed: the folder may be empty, and the only one that has tenants', () => {
    const { tenants: _, ...rest } = settings();
    expect(configOf(rest, { tenants: {} }).tenants.size).toBe(0);
  });

  it('is one of ten thousand at most', () => {
    const many = Object.fromEntries(
      Array.from({ length: 10_002 }, (_, i) => [
        `t${String(i).padStart(5, '0')}.yaml`,
        `keys: [key-of-tenant-${i}]`,
      ]),
    );
    const { config } = loaded(many);
    expect(config.tenants.size).toBe(10_001);
    expect(config.refusedTenantFiles.map(({ file }) => file.slice(-11))).toEqual([
      't10000.yaml',
      't10001.yaml',
    ]);
  }, 60_000);
});
