/** Adapters of a real vLLM, through the real Envoy: where that is asked for (docs/how-to/testing.md). */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RealEngine, startVllm } from '../../bench/vllm/engine.ts';
import { chatBody, send } from '../support/client.ts';
import { KEYS, type Stack, startStack } from '../support/stack.ts';
import { writeTinyLora } from '../support/tiny-lora.ts';

const NAMES = ['first', 'second', 'third'];

describe.skipIf(process.env['FAIRLANE_TEST_VLLM'] !== '1')(
  'a real vLLM (skipped unless FAIRLANE_TEST_VLLM=1)',
  () => {
    let folder: string;
    let engine: RealEngine;
    let stack: Stack;
    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), 'fairlane-lora-'));
      for (const name of NAMES) writeTinyLora(join(folder, name));
      engine = await startVllm({
        maxSequences: 4,
        flags: '--enable-lora --max-loras 2 --max-lora-rank 8'.split(' '),
        env: { VLLM_ALLOW_RUNTIME_LORA_UPDATING: 'True' },
        onProgress: () => undefined,
      });
      stack = await startStack({
        engines: [engine.url],
        change(config) {
          config['queue'] = { maxWait: '50s' };
          config['pools']['main']['adaptersPerEndpoint'] = 2;
          config['models'] = { tiny: { pool: 'main' } };
          config['adapters'] = Object.fromEntries([
            ...NAMES.map((name) => [name, { base: 'tiny', path: join(folder, name) }]),
            ['nowhere', { base: 'tiny', path: join(folder, 'nowhere') }],
            ['theirs', { base: 'tiny', path: join(folder, 'first'), tenants: ['noisy'] }],
          ]);
        },
      });
    });
    afterAll(async () => {
      await stack?.close();
      await engine?.stop();
      rmSync(folder, { recursive: true, force: true });
    });
    const ask = (model: string) => send(stack.url, { key: KEYS.quiet, body: chatBody({ model }) });
    const listed = async (): Promise<readonly string[]> => {
      const { data } = (await (await fetch(`${engine.url}/v1/models`)).json()) as {
        readonly data: readonly { readonly id: string; readonly parent: string | null }[];
      };
      return data.filter(({ parent }) => parent !== null).map(({ id }) => id);
    };

    it('loads what is asked for, unloads what was used least lately, and says why it cannot', async () => {
      for (const name of ['tiny', 'first', 'second', 'first']) {
        const { status, json } = await ask(name);
        expect([status, json.model]).toEqual([200, name]);
      }
      await new Promise((resolve) => setTimeout(resolve, 1_100));
      expect((await ask('third')).status).toBe(200);
      expect([...(await listed())].sort()).toEqual(['first', 'third']);

      // Loaded by somebody else meanwhile: "already loaded" is loaded.
      await new Promise((resolve) => setTimeout(resolve, 1_100));
      const body = JSON.stringify({ lora_name: 'second', lora_path: join(folder, 'second') });
      const headers = { 'content-type': 'application/json' };
      await fetch(`${engine.url}/v1/load_lora_adapter`, { method: 'POST', headers, body });
      expect((await ask('second')).status).toBe(200);

      const nowhere = await ask('nowhere');
      expect([nowhere.status, nowhere.json.error.code]).toEqual([503, 'adapter_unavailable']);
      expect(stack.logText()).toMatch(/"adapter":"nowhere","action":"load","detail":"\d{3}: [^"]*"/);
      const theirs = await ask('theirs');
      expect([theirs.status, theirs.json.error.code]).toEqual([404, 'model_not_found']);
    });
  },
);
