/** docs/clients.md: each of its blocks of code says what runs it, and something does. */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { fencesOf, pageFences, RUN_BY } from '../support/clients/page.ts';

const fences = pageFences();

describe('the page of clients', () => {
  it('says of each block of code whether it is run, and by what', () => {
    const unsaid = fences.filter(({ mark }) => !/^(run: [\w-]+|run by: tests\/\S+|not run)$/.test(mark));
    expect(unsaid.map(({ line, mark }) => `${line}: ${mark}`)).toEqual([]);
  });

  it('has nothing marked as run that no test runs, and none that is gone', () => {
    const run = fences.flatMap(({ mark }) => /^run: (.*)$/.exec(mark)?.slice(1) ?? []);
    expect([...run].sort()).toEqual(Object.keys(RUN_BY).sort());
    for (const [name, file] of Object.entries(RUN_BY))
      expect(readFileSync(file, 'utf8')).toContain(`'${name}'`);
    const elsewhere = fences.flatMap(({ mark }) => /^run by: (.*)$/.exec(mark)?.slice(1) ?? []);
    expect(elsewhere.filter((file) => !existsSync(file))).toEqual([]);
  });

  it('has the versions that the tests run', () => {
    const page = readFileSync('docs/clients.md', 'utf8').replaceAll('\n', ' ');
    const { devDependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as {
      devDependencies: Record<string, string>;
    };
    const pinned = ['python', 'litellm'].flatMap((name) =>
      readFileSync(`tests/support/clients/${name}-requirements.txt`, 'utf8').split('\n'),
    );
    const python = (name: string): string =>
      new RegExp(`^${name}==([\\d.]+)`).exec(
        pinned.find((line) => line.startsWith(`${name}==`)) ?? '',
      )?.[1] ?? '';
    for (const name of ['openai', '@anthropic-ai/sdk'])
      expect(page).toContain(`${name} ${devDependencies[name]}`);
    for (const name of ['openai', 'anthropic', 'langchain-openai', 'litellm']) {
      expect(python(name)).not.toBe('');
      expect(page).toContain(`${name} ${python(name)}`);
    }
  });
});

it('a section says of all its blocks which test runs them', () => {
  const page =
    '## A\n<!-- run by: tests/a.test.ts -->\nText.\n```\na\n```\n<!-- not run -->\n```\nb\n```\n## B\n```\nc\n```\n';
  expect(fencesOf(page).map(({ mark }) => mark)).toEqual(['run by: tests/a.test.ts', 'not run', '']);
});

it('blocks of code are found with the mark before them', () => {
  const page =
    '# A\n\n<!-- run: one -->\n```sh\na\nb\n```\n\n<!-- not run -->\n\n```\nc\n```\ntext\n```js\nd\n```\n';
  expect(fencesOf(page)).toEqual([
    { line: 4, mark: 'run: one', text: 'a\nb\n' },
    { line: 11, mark: 'not run', text: 'c\n' },
    { line: 15, mark: '', text: 'd\n' },
  ]);
});
