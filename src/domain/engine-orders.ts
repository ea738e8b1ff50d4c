/**
 * Paths by which engines take orders or tell of themselves, and those by which they answer past what is counted: no tenant reaches
 * them, whatever the configuration says. Those of the drivers (`managementPaths`) are among them: a test says so.
 */
const ORDERS = [
  ...[
    '/sleep',
    '/wake_up',
    '/wakeup',
    '/terminate',
    '/distserve',
    '/is_sleeping',
    '/pause',
    '/resume',
    '/is_paused',
    '/abort_requests',
    '/abort_request',
  ],
  ...['/pause_generation', '/continue_generation', '/release_kv_cache_memory', '/release_memory_occupation'],
  ...[
    '/resume_memory_occupation',
    '/flush_cache',
    '/reset_prefix_cache',
    '/reset_mm_cache',
    '/reset_encoder_cache',
  ],
  ...['/collective_rpc', '/update_weights', '/update_weights_from_disk', '/update_weights_from_tensor'],
  ...['/update_weights_from_distributed', '/update_weights_from_ipc', '/init_weights_update_group'],
  ...[
    '/get_weights_by_name',
    '/load_lora_adapter',
    '/unload_lora_adapter',
    '/lora-adapters',
    '/open_session',
  ],
  ...[
    '/close_session',
    '/set_internal_state',
    '/slow_down',
    '/configure_logging',
    '/start_profile',
    '/stop_profile',
  ],
  ...[
    '/scale_elastic_ep',
    '/dumper',
    '/props',
    '/slots',
    '/models/load',
    '/models/unload',
    '/tools',
    '/cors-proxy',
  ],
  ...['/apply-template', '/v1/stream', '/v1/streams', '/v1/chat/completions/control'],
];
const TELLING = [
  ...[
    '/metrics',
    '/health',
    '/health_generate',
    '/ping',
    '/load',
    '/version',
    '/docs',
    '/redoc',
    '/openapi.json',
  ],
  ...[
    '/server_info',
    '/get_server_info',
    '/get_model_info',
    '/model_info',
    '/get_load',
    '/tokenizer_info',
    '/info',
  ],
];
const UNCOUNTED = [
  ...['/generate', '/generate_stream', '/generate_from_file', '/invocations', '/vertex', '/vertex_generate'],
  ...[
    '/inference/v1/generate',
    '/completion',
    '/infill',
    '/chat_tokenize',
    '/encode',
    '/api/chat',
    '/api/generate',
  ],
];

const REASONS: readonly (readonly [paths: readonly string[], reason: string])[] = [
  [ORDERS, 'engines take orders there'],
  [TELLING, 'engines tell of themselves there'],
  [UNCOUNTED, 'engines answer there what nobody counts'],
];

/** In lower case, without a slash at its end. Some engines have what is below /v1 without it, too. */
function formsOf(path: string): readonly string[] {
  const plain = path.toLowerCase().replace(/\/+$/, '');
  return plain.startsWith('/v1/') ? [plain, plain.slice(3)] : [plain];
}

const isAmong = (paths: readonly string[], forms: readonly string[]): boolean =>
  paths.some((one) => forms.some((form) => form === one || form.startsWith(`${one}/`)));

/** Whether engines take orders there, or below it: for some, a request without a body is one. */
export const takesOrders = (path: string): boolean => isAmong(ORDERS, formsOf(path));

/** Why no tenant may reach a path, or one below it; undefined: nothing is known against it. */
export function reasonAgainst(path: string): string | undefined {
  const forms = formsOf(path);
  return REASONS.find(([paths]) => isAmong(paths, forms))?.[1];
}
