/** The architecture rules hold, and each of them can fail. */
import { createRequire } from 'node:module';
import { cruise, type ICruiseResult } from 'dependency-cruiser';
import { describe, expect, it } from 'vitest';

const rules = createRequire(import.meta.url)('../../.dependency-cruiser.cjs') as {
  readonly forbidden: readonly { readonly name: string }[];
  readonly options: Record<string, unknown>;
};

async function violationsIn(
  folder: string,
): Promise<ICruiseResult['summary'] & { readonly modules: number; readonly dependencies: number }> {
  const { output } = await cruise([folder], {
    ...rules.options,
    validate: true,
    ruleSet: { forbidden: rules.forbidden } as never,
  });
  if (typeof output === 'string') throw new Error(output);
  const dependencies = output.modules.reduce((sum, module) => sum + module.dependencies.length, 0);
  return { ...output.summary, modules: output.modules.length, dependencies };
}

describe('the architecture rules', () => {
  it('hold in src, and the imports are seen', async () => {
    const { violations, modules, dependencies } = await violationsIn('src');
    expect(violations.map(({ rule, from, to }) => `${rule.name}: ${from} → ${to}`)).toEqual([]);
    expect(modules).toBeGreaterThan(200);
    expect(dependencies).toBeGreaterThan(700);
  });

  it('can each fail: the fixture breaks every one of them', async () => {
    const { violations } = await violationsIn('tests/fixtures/architecture/src');
    const broken = new Set(violations.map(({ rule }) => rule.name));
    expect([...broken].sort()).toEqual(rules.forbidden.map(({ name }) => name).sort());
  });
});
