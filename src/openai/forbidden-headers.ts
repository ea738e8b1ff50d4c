/**
 * Request headers, in lower case, by which an engine would take orders from a tenant: they do what forbidden fields do,
 * and some beat the field. They are removed on the way to every engine.
 */
export const FORBIDDEN_HEADERS: readonly string[] = [
  // Overtaking.
  'x-vllm-priority',
  'x-override-priority',

  // Another's request or session, and where it runs.
  'x-session-id',
  'x-override-rid',
  'x-override-conversation-id',
  'x-data-parallel-rank',
  'x-smg-routing-key',
  'x-override-routed-dp-rank',
  'x-override-disagg-prefill-dp-rank',
  'x-override-bootstrap-host',
  'x-override-bootstrap-port',
  'x-override-bootstrap-room',

  // Another model than `model` says.
  'x-amzn-sagemaker-adapter-identifier',

  // An answer that goes on in the engine when its client has gone (llama.cpp keeps it to be read again).
  'x-conversation-id',

  // Metric labels are unbounded series.
  'x-custom-labels',
];
