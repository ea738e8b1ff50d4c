/** What every client is run against: the simulator, an engine that calls tools, and tenants whose limits tell how it tries again. */
import { type Simulator, startSimulator } from '../../../src/simulator/http-simulator.ts';
import { parseProfile } from '../../../src/simulator/profile.ts';
import { send } from '../client.ts';
import { eventually } from '../eventually.ts';
import { type Draft, type Stack, startStack } from '../stack.ts';
import { DEMO_KEY, OTHER_DEMO_KEY } from './page.ts';
import { startToolEngine, TOOL_MODEL } from './tool-engine.ts';

/** A month of one token: spent before anything. */
export const SPENT_KEY = 'key-of-the-spent';
/** One request now, and one in three seconds: longer than a client needs for two. */
export const hastyKey = (client: string): string => `key-of-the-hasty-${client}`;
const HASTY_CLIENTS = ['openai', 'anthropic', 'litellm'] as const;

export interface ClientStack {
  readonly stack: Stack;
  readonly engine: Simulator;
  close(): Promise<void>;
}

export async function startClientStack(
  change: (config: Draft) => void = () => undefined,
): Promise<ClientStack> {
  const engine = await startSimulator({
    profile: parseProfile('test', {}),
    models: ['demo', 'org/name'],
    faults: true,
  });
  const tools = await startToolEngine();
  const stack = await startStack({
    engines: [engine.url],
    change(config) {
      const { main } = config['pools'];
      config['pools']['tools'] = { ...main, endpoints: [tools.url] };
      config['models'] = {
        demo: { pool: 'main' },
        'org/name': { pool: 'main' },
        [TOOL_MODEL]: { pool: 'tools' },
      };
      config['tenants'] = {
        quiet: { keys: [DEMO_KEY] },
        noisy: { keys: [OTHER_DEMO_KEY] },
        spent: { keys: [SPENT_KEY], limits: { tokensPerMonth: 1 } },
        ...Object.fromEntries(
          HASTY_CLIENTS.map((client) => [
            `hasty-${client}`,
            { keys: [hastyKey(client)], limits: { requestsPerMinute: 20, requestBurst: 1 } },
          ]),
        ),
      };
      change(config);
    },
  });
  for (const model of ['demo', TOOL_MODEL]) {
    const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'hello' }], max_tokens: 1 });
    await eventually(
      async () => (await send(stack.url, { key: DEMO_KEY, body })).status,
      (status) => status === 200,
    );
  }
  return {
    stack,
    engine,
    async close() {
      await stack.close();
      await engine.close();
      await tools.close();
    },
  };
}
