/** LoRA adapters of the simulated engine: what vLLM 0.32 answers, without an adapter. */

export interface AdapterSettings {
  /**
   * Adapters that may be loaded at one time. vLLM has no such limit: going over it is a fault that tests look
   * for.
   */
  readonly max: number;
  readonly loadMs: number;
  /** Loaded from the start. */
  readonly loaded?: readonly string[];
}

interface AdapterAnswer {
  readonly status: number;
  readonly body: string;
  /** It takes that long. */
  readonly afterMs: number;
  /** What has changed when the time is over. */
  readonly apply?: () => void;
}

export interface SimulatedAdapters {
  names(): readonly string[];
  /** @param text the body of the request. */
  load(text: string): AdapterAnswer;
  unload(text: string): AdapterAnswer;
  stats(): { readonly loads: number; readonly unloads: number; readonly most: number };
}

/** A path with this word in it leads to no adapter. */
const MISSING = 'missing';

const refused = (status: number, type: string, message: string): AdapterAnswer => ({
  status,
  body: JSON.stringify({ error: { message, type, param: null, code: status } }),
  afterMs: 0,
});

function fieldsOf(text: string): { readonly name: string; readonly path: string } {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    // As a body without fields.
  }
  const { lora_name: name, lora_path: path } = (body ?? {}) as Readonly<Record<string, unknown>>;
  return { name: typeof name === 'string' ? name : '', path: typeof path === 'string' ? path : '' };
}

export function createSimulatedAdapters(
  { max, loadMs, loaded = [] }: AdapterSettings,
  models: readonly string[],
): SimulatedAdapters {
  const names = new Set(loaded);
  let loads = 0;
  let unloads = 0;
  let most = names.size;

  return {
    names: () => [...names],
    load(text) {
      const { name, path } = fieldsOf(text);
      if (name === '' || path === '') {
        return refused(400, 'InvalidUserInput', "Both 'lora_name' and 'lora_path' must be provided.");
      }
      if (models.includes(name)) {
        return refused(
          400,
          'InvalidUserInput',
          `The lora adapter '${name}' conflicts with a served base model.`,
        );
      }
      if (names.has(name)) {
        return refused(
          400,
          'InvalidUserInput',
          `The lora adapter '${name}' has already been loaded. If you want to load the adapter in place, set 'load_inplace' to True.`,
        );
      }
      if (path.includes(MISSING)) {
        return refused(404, 'NotFoundError', `Loading lora ${name} failed: No adapter found for ${path}`);
      }
      if (names.size >= max) return refused(500, 'InternalServerError', `more than ${max} adapters`);
      return {
        status: 200,
        body: `Success: LoRA adapter '${name}' added successfully.`,
        afterMs: loadMs,
        apply() {
          names.add(name);
          loads += 1;
          most = Math.max(most, names.size);
        },
      };
    },
    unload(text) {
      const { name } = fieldsOf(text);
      if (name === '') {
        return refused(400, 'InvalidUserInput', "'lora_name' needs to be provided to unload a LoRA adapter.");
      }
      if (!names.has(name)) {
        return refused(404, 'NotFoundError', `The lora adapter '${name}' cannot be found.`);
      }
      return {
        status: 200,
        body: `Success: LoRA adapter '${name}' removed successfully.`,
        afterMs: 0,
        apply() {
          if (names.delete(name)) unloads += 1;
        },
      };
    },
    stats: () => ({ loads, unloads, most }),
  };
}
