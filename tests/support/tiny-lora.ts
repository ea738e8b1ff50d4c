/** A LoRA adapter of zeros for the tiny model of bench/vllm, in the folder that vLLM loads one from. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const WIDTH = 128;
const RANK = 8;

export function writeTinyLora(folder: string): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    join(folder, 'adapter_config.json'),
    JSON.stringify({
      peft_type: 'LORA',
      r: RANK,
      lora_alpha: RANK,
      target_modules: ['q_proj'],
      bias: 'none',
    }),
  );
  const layer = 'base_model.model.model.layers.0.self_attn.q_proj';
  const bytes = 4 * WIDTH * RANK;
  // https://github.com/huggingface/safetensors#format
  const header = Buffer.from(
    JSON.stringify({
      [`${layer}.lora_A.weight`]: { dtype: 'F32', shape: [RANK, WIDTH], data_offsets: [0, bytes] },
      [`${layer}.lora_B.weight`]: { dtype: 'F32', shape: [WIDTH, RANK], data_offsets: [bytes, 2 * bytes] },
    }),
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(
    join(folder, 'adapter_model.safetensors'),
    Buffer.concat([length, header, Buffer.alloc(2 * bytes)]),
  );
}
