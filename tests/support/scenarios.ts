/** The scenarios of scenarios/, and small ones. */
import { readFileSync } from 'node:fs';
import { parseScenario, type Scenario } from '../../src/loadtest/scenario.ts';

const scenarioOf = (text: string): Scenario => {
  const parsed = parseScenario({ text, file: 's.yaml', readFile: () => '' });
  if (parsed.kind === 'bad') throw new Error(parsed.problems.join('\n'));
  return parsed.scenario;
};
export const NOISY = scenarioOf(readFileSync('scenarios/noisy-neighbour.yaml', 'utf8'));
export const HTTP = scenarioOf(readFileSync('scenarios/http.yaml', 'utf8'));
/** With one tenant. */
export const lonely = (settings: string): Scenario =>
  scenarioOf(`name: x\ntenants: { alice: { prompt: 100, output: 10, ${settings} } }`);
