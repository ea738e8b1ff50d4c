/**
 * How the configuration is written: the keys, their limits and defaults, and what each is for. Everything that is
 * said here reaches the user: as the reference (reference.ts) and as problems (load.ts).
 */
import * as z from 'zod';
import { PICKER } from '../domain/names.ts';
import { SCORERS, type ScorerName } from '../domain/routing-profiles.ts';
import { DEFAULT_FORBIDDEN_FIELDS, DEFAULT_TOOLS } from './forbidden-fields.ts';
import {
  adminAddress,
  DURATION_PATTERN,
  durationMs,
  FILE_PATH,
  hostPort,
  must,
  SIZE_PATTERN,
  serviceAddress,
  sizeBytes,
} from './values.ts';

/** `shown` is the type column of the reference. */
const about = (description: string, shown: string) => ({ description, shown });

/** What is shown of a section whose keys the reference lists. */
export const SECTION = 'mapping';

const thousands = (value: number): string => String(value).replace(/\B(?=(\d{3})+$)/g, ',');

function integer(min: number, max: number, description: string) {
  const error = must(`a whole number from ${min} to ${max}`);
  return z
    .int({ error })
    .min(min, { error })
    .max(max, { error })
    .meta(about(description, `whole number, ${min} to ${thousands(max)}`));
}

function liftable(max: number, description: string) {
  const error = must(`a whole number from 1 to ${max}, or the word unlimited`);
  return z
    .union([z.int({ error }).min(1, { error }).max(max, { error }), z.literal('unlimited')], { error })
    .meta(about(description, `whole number, 1 to ${thousands(max)}, or \`unlimited\``));
}

/** A quantity with a unit, between two others, given in the notation that users write. */
function quantity(
  noun: string,
  pattern: RegExp,
  units: string,
  parse: (text: string) => number | undefined,
  [min, max]: readonly [string, string],
  example: string,
  description: string,
) {
  const error = must(`a ${noun} from ${min} to ${max} with a unit (${units}), for example ${example}`);
  return z
    .string({ error })
    .regex(pattern, { error })
    .transform((text, context) => {
      const value = parse(text) ?? Number.NaN;
      if (value >= (parse(min) ?? 0) && value <= (parse(max) ?? 0)) return value;
      context.issues.push({ code: 'custom', message: error({ input: text }), input: text });
      return z.NEVER;
    })
    .meta(about(description, `${noun}, ${min} to ${max}`));
}

const duration = (min: string, max: string, example: string, description: string) =>
  quantity('duration', DURATION_PATTERN, 'ms, s, m, h', durationMs, [min, max], example, description);

const size = (min: string, max: string, example: string, description: string) =>
  quantity('size', SIZE_PATTERN, 'B, KiB, MiB, GiB', sizeBytes, [min, max], example, description);

function parsed<T>(parse: (text: string) => T | undefined, what: string, shown: string, description: string) {
  const error = must(what);
  return z
    .string({ error })
    .transform((text, context) => {
      const value = parse(text);
      if (value !== undefined) return value;
      context.issues.push({ code: 'custom', message: error({ input: text }), input: text });
      return z.NEVER;
    })
    .meta(about(description, shown));
}

/** Envoy resolves no names for an address that it listens on. */
const listenAddress = (example: string, description: string) =>
  parsed(
    (text) => hostPort(text, 'ip'),
    `an IP address and a port from 1 to 65535, for example ${example} or [::1]:${example.split(':')[1]}`,
    '`ip:port`',
    description,
  );

function word(pattern: RegExp, what: string, description: string) {
  const error = must(what);
  return z.string({ error }).regex(pattern, { error }).meta(about(description, 'string'));
}

const PEM_RULE = 'a path, for example redis-ca.pem';
const pemFile = (description: string) =>
  z
    .string({ error: must(PEM_RULE) })
    .regex(FILE_PATH, { error: must(PEM_RULE) })
    .meta(about(description, 'path'))
    .optional();

/** Tenants, pools and tiers become headers, metric labels and file names. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const NAME_RULE = '1 to 64 letters, digits, ".", "_" or "-", the first a letter or digit';
const name = (description: string) => word(NAME, NAME_RULE, description);

const MODEL = /^(?!\*$)[^\p{C}\p{Z}](?:[^\p{C}\p{Zl}\p{Zp}]{0,254}[^\p{C}\p{Z}])?$/u;
const MODEL_RULE =
  '1 to 256 printable characters, without spaces at the ends ("*" alone is no name: it means all models)';
const model = (description: string) => word(MODEL, MODEL_RULE, description);

function choice<const T extends readonly [string, ...string[]]>(options: T, description: string) {
  const error = must(`one of ${options.join(', ')}`);
  return z
    .enum(options, { error })
    .meta(about(description, options.map((option) => `\`${option}\``).join(' or ')));
}

function section<T extends z.core.$ZodLooseShape>(shape: T, description: string, shown = SECTION) {
  return z.strictObject(shape, { error: must('a mapping') }).meta(about(description, shown));
}

function list<T extends z.ZodType>(item: T, most: number, what: string, description: string) {
  const error = must(`a list of 1 to ${most} ${what}`);
  return z
    .array(item, { error })
    .min(1, { error })
    .max(most, { error })
    .meta(about(description, `list of ${what}`));
}

function named<V extends z.ZodType>(
  key: z.ZodString,
  value: V,
  [least, most]: readonly [number, number],
  what: string,
  description: string,
) {
  const error = must(`a mapping of ${least} to ${most} ${what}`);
  return z
    .record(key, value, { error })
    .refine((entries) => between(Object.keys(entries).length, least, most), { error })
    .meta(about(description, SECTION));
}

const between = (value: number, min: number, max: number): boolean => value >= min && value <= max;

function number([min, max]: readonly [number, number], description: string) {
  const error = must(`a number from ${min} to ${max}`);
  return z
    .number({ error })
    .min(min, { error })
    .max(max, { error })
    .meta(about(description, `number, ${min} to ${thousands(max)}`));
}

const limits = {
  weight: number(
    [0.01, 1_000],
    'Share of the engine while several tenants have requests waiting, relative to the other tenants’. Default: 1.',
  ).optional(),
  requestsPerMinute: liftable(10_000_000, 'Requests a minute. Default: unlimited.').optional(),
  requestBurst: integer(
    1,
    10_000_000,
    'Requests that may come at once after a pause. Default: `requestsPerMinute`.',
  ).optional(),
  tokensPerMinute: liftable(
    1_000_000_000,
    'Prompt plus output tokens a minute. Default: unlimited.',
  ).optional(),
  tokenBurst: integer(
    1,
    1_000_000_000,
    'Tokens that may be used at once after a pause; a longer prompt never passes. Default: `tokensPerMinute`.',
  ).optional(),
  tokensPerMonth: liftable(
    1_000_000_000_000_000,
    'Prompt plus output tokens a calendar month, in UTC; what is used is kept in Redis or in `rateLimit.snapshot`. Default: unlimited.',
  ).optional(),
  maxConcurrent: liftable(
    100_000,
    'Requests in the engines at once; more wait in the queue. Default: unlimited.',
  ).optional(),
  maxContext: liftable(
    10_000_000,
    'Tokens of one request, prompt plus output. Default: unlimited.',
  ).optional(),
  maxOutputs: integer(
    1,
    128,
    'Outputs of one request: choices (`n`) times prompts. Each takes a slot, and a request waits until it has all of its slots. Default: 16.',
  ).optional(),
  maxQueued: integer(
    0,
    100_000,
    'Requests waiting in the queue; more are refused with 429, unless a slot is idle at that moment: then up to twice as many wait. Default: 100.',
  ).optional(),
  maxHeldSize: size(
    '1KiB',
    '1024GiB',
    '48MiB',
    'Request bodies that are being uploaded, wait, or are at an engine that has not begun to answer; without a `content-length` an upload counts as `envoy.maxBodySize`. More wait for some seconds before they are uploaded, then they are refused with 429. At least `envoy.maxBodySize`. Default: `48MiB`, or six times `envoy.maxBodySize`.',
  ).optional(),
};

/** What bounds Envoy's memory, and what those get who are slow. */
const envoyMemory = {
  connectionBufferSize: size(
    '16KiB',
    '16MiB',
    '32KiB',
    'What Envoy reads ahead of an answer for each client and from each engine, and the kernel eight times as much.',
  ).prefault('32KiB'),
  maxHeapSize: size(
    '96MiB',
    '1024GiB',
    '224MiB',
    'Envoy’s heap. Close to it Envoy ends idle connections and resets what holds most, then refuses requests (503) and connections. Default: what one tenant can make it hold.',
  ).optional(),
  maxConnections: integer(16, 1_000_000, 'Connections of clients at once; more are closed at once.').prefault(
    50_000,
  ),
  idleTimeout: duration(
    '1s',
    '1h',
    '2m',
    'A connection without a request is closed after this, and an ended answer of which nothing more is read.',
  ).prefault('2m'),
  uploads: section(
    {
      minRate: size(
        '1KiB',
        '1GiB',
        '16KiB',
        'Bytes a second that an upload makes at least, over the whole: slower ones get 408. Without a `content-length` a body counts as `envoy.maxBodySize`.',
      ).prefault('16KiB'),
      grace: duration('1s', '10m', '10s', 'Time that an upload has besides.').prefault('10s'),
    },
    'Slow uploads.',
  ).prefault({}),
};

const PATH = /^\/[\x21-\x7e]{0,255}$/;
const reserveError = must('a whole number from 0 to 1000, or the word auto');
const windowError = must('a whole number from 1 to 10000, or the word auto');

const weights = {
  prompt: number([0, 1_000], 'Weighted tokens of a prompt token.').prefault(1),
  cachedPrompt: number(
    [0, 1_000],
    'Weighted tokens of a prompt token that the engine’s prefix cache had.',
  ).prefault(0.1),
  output: number(
    [0, 1_000],
    'Weighted tokens of an output token: it holds its place in the batch for a whole step.',
  ).prefault(2),
};
const cost = section(weights, 'Cost of requests, by which the queue’s order is fair.').refine(
  ({ prompt, output }) => prompt + output > 0,
  { error: 'prompt and output must not both be 0' },
);

const condition = section(
  {
    tenants: list(name('A tenant.'), 1_000, 'tenants', 'One of these tenants.').optional(),
    tiers: list(name('A tier.'), 256, 'tiers', 'A tenant of one of these tiers.').optional(),
    models: list(model('A model.'), 1_000, 'models', 'One of these models.').optional(),
    routes: list(
      choice(['chat.completions', 'completions', 'embeddings', 'responses', 'messages'], 'A route.'),
      5,
      'routes',
      'One of these routes.',
    ).optional(),
    header: section(
      {
        name: word(
          /^[a-z0-9][a-z0-9-]{0,63}$/,
          'a header name in lower case',
          'Name, in lower case. Your Envoy must set or remove it, or clients choose their lane themselves.',
        ),
        value: word(/^[\x20-\x7e]{1,256}$/, '1 to 256 printable characters', 'The value that it must have.'),
      },
      'A request header.',
    ).optional(),
    minPromptTokens: integer(1, 10_000_000, 'Predicted prompt tokens, at least.').optional(),
    maxPromptTokens: integer(1, 10_000_000, 'Predicted prompt tokens, at most.').optional(),
    minOutputTokens: integer(1, 10_000_000, 'The request’s own cap on its output, at least.').optional(),
    maxOutputTokens: integer(1, 10_000_000, 'The request’s own cap on its output, at most.').optional(),
  },
  'A condition: all that it says must be true.',
  'mapping',
);

const lane = section(
  {
    share: number(
      [0.01, 1_000],
      'Part of the window while other lanes have requests waiting too, relative to theirs. What a lane does not use, others borrow until the next release.',
    ).prefault(1),
    when: z
      .array(condition, { error: must('a list of 1 to 64 conditions') })
      .min(1, { error: must('a list of 1 to 64 conditions') })
      .max(64, { error: must('a list of 1 to 64 conditions') })
      .meta(
        about(
          'Requests for which one of the conditions is true. The first lane that takes a request has it; a lane without `when` takes every request. What no lane takes goes into the first. A condition may name `tenants`, `tiers`, `models`, `routes`, a `header` (`name`, `value`), `minPromptTokens`, `maxPromptTokens`, `minOutputTokens`, `maxOutputTokens`; all that it names must be true. Default: every request.',
          'list of conditions',
        ),
      )
      .optional(),
    order: choice(
      ['fcfs', 'shortest'],
      'Order among one tenant’s requests: first come first served, or the least predicted cost first.',
    ).prefault('fcfs'),
    maxAge: duration(
      '100ms',
      '55m',
      '10s',
      'With `order: shortest`: a request that has waited for so long goes first.',
    ).prefault('10s'),
    ttft: duration(
      '1ms',
      '10m',
      '200ms',
      'Largest time from the release to the first token: the window is kept small enough for it in nine of ten requests. Default: none.',
    ).optional(),
    itl: duration('1ms', '1m', '30ms', 'Largest mean inter-token time, likewise. Default: none.').optional(),
    stalledAfter: duration(
      '100ms',
      '1h',
      '10s',
      'A stream whose client has stopped reading for so long gives its slot to others, once the engine must have ended it.',
    ).prefault('10s'),
  },
  'A lane: a class of requests with a share of the window.',
);

const scoreWeight = (description: string) =>
  number([0, 100], `${description} Default: the profile’s.`).optional();
const scoreWeights = Object.fromEntries(
  Object.entries(SCORERS).map(([name, description]) => [name, scoreWeight(description)]),
) as Record<ScorerName, ReturnType<typeof scoreWeight>>;

const endpointChoice = section(
  {
    weights: section(
      scoreWeights,
      'How much each score counts, in place of the profile’s weight. Every score is 0 to 1; the highest sum wins.',
    ).optional(),
    largeTokens: integer(
      1,
      100_000_000,
      'With `routing: class-aware`: a request of so many tokens, prompt and predicted output, is a large one. Default: 8192.',
    ).optional(),
    slowClients: list(
      z.string({ error: must('a URL, or env:NAME') }),
      255,
      'URLs',
      'With `routing: slow-client-isolation` or `class-aware`: endpoints of this pool that are kept for clients that were seen to read slowly, as they are written in `endpoints`. Default: none.',
    ).optional(),
    sessionHeader: word(
      /^[a-z0-9][a-z0-9-]{0,63}$/,
      'a header name in lower case',
      'Request header that names a session, for example of an agent: its next request goes where the last one was served. Without it `prompt_cache_key` of the body does, and without that the beginning of the conversation.',
    ).prefault('x-session-id'),
    zones: named(
      name('Zone name.'),
      list(z.string({ error: must('a URL, or env:NAME') }), 256, 'URLs', 'Endpoints in this zone.'),
      [1, 64],
      'zones',
      'Where endpoints are.',
    )
      .meta(
        about(
          'Where endpoints of this pool are, as they are written in `endpoints`. With `service.zone`, requests prefer those of the same zone. Default: not known.',
          'mapping of zones to lists of URLs',
        ),
      )
      .optional(),
  },
  'What `routing` goes by, but for `least-loaded`. See [routing.md](routing.md).',
);

const kvCache = section(
  {
    memory: size(
      '1MiB',
      '65536GiB',
      '20GiB',
      'Memory of the KV cache of one endpoint, over all of its GPUs.',
    ),
    layers: integer(1, 10_000, 'Layers of the model: `num_hidden_layers` in its `config.json`.'),
    kvHeads: integer(
      1,
      10_000,
      'Key and value heads: `num_key_value_heads`, without it `num_attention_heads`.',
    ),
    headDim: integer(
      1,
      100_000,
      'Dimensions of a head: `head_dim`, without it `hidden_size` divided by `num_attention_heads`.',
    ),
    bytes: number([0.25, 8], 'Bytes of one number in the cache: 2 in 16 bits, 1 in 8.').prefault(2),
  },
  'The KV cache of each endpoint, for engines that do not say how many tokens theirs holds: `memory` divided by 2 · `layers` · `kvHeads` · `headDim` · `bytes`. What an engine says counts before it. Not for models that store something else for a token (MLA, state spaces). Default: as the engines say.',
);

const pool = section(
  {
    endpoints: list(
      z.string({ error: must('a URL, or env:NAME') }),
      256,
      'URLs',
      'The engines: `http://host:port`, or `env:NAME` to take the URL from an environment variable. All must serve the same models.',
    ),
    drain: list(
      z.string({ error: must('a URL, or env:NAME') }),
      256,
      'URLs',
      'Endpoints of this pool that get no new requests, as they are written in `endpoints`: what they have ends as usual, and the log says when they are empty. Default: none.',
    ).optional(),
    routing: choice(
      [
        'least-loaded',
        'balanced',
        'prefix-cache',
        'interactive',
        'large-tokens',
        'slow-client-isolation',
        'class-aware',
      ],
      'Which endpoint with room gets a request. `least-loaded` counts what is in flight. The others weigh also what waits to be computed, room in the KV cache, and where the beginning of the prompt, of this tenant or its trust group, was computed last: `prefix-cache` weighs that most, `interactive` the queue, `large-tokens` the room, `slow-client-isolation` keeps clients that read slowly together; `class-aware` does what suits each request. See [routing.md](routing.md).',
    ).prefault('least-loaded'),
    choice: endpointChoice.prefault({}),
    kvCache: kvCache.optional(),
    engine: choice(
      ['auto', 'vllm', 'sglang', 'llamacpp', 'tgi'],
      'What the endpoints are: it decides which metrics, health answers and fields are theirs. `auto` asks each endpoint, so that a pool may have several kinds.',
    ).prefault('auto'),
    windowPerEndpoint: z
      .union([z.int({ error: windowError }).min(1).max(10_000), z.literal('auto')], { error: windowError })
      .meta(
        about(
          'Sequences that one endpoint works on at once. More wait in Fairlane’s queue, where the order is fair. `auto` finds the number at which the engine is full and its own queue is empty; a number (vLLM: `--max-num-seqs`) is kept.',
          'whole number, 1 to 10,000, or `auto`',
        ),
      )
      .prefault('auto'),
    adaptersPerEndpoint: integer(
      1,
      1_000,
      'Places for LoRA adapters on each endpoint: Fairlane loads and unloads those of `adapters` that have a `path` within it. Default: Fairlane loads none; adapters that engines list are used.',
    ).optional(),
    prefillTokens: integer(
      1,
      1_000_000,
      'While quiet tenants are active: prompt tokens per endpoint that may wait for their computation. A quiet tenant’s request shares its step with no more. A longer prompt goes alone.',
    ).prefault(2_048),
    reserve: z
      .union([z.int({ error: reserveError }).min(0).max(1_000), z.literal('auto')], { error: reserveError })
      .meta(
        about(
          'Slots of the pool that are kept free for tenants below their fair share, while such are active. `auto`: as many as leave one in a hundred of their requests without one, at most a sixteenth of the window. More is faster for quiet tenants, less is fuller.',
          'whole number, 0 to 1,000, or `auto`',
        ),
      )
      .prefault('auto'),
    gauges: section(
      {
        path: word(
          PATH,
          'a path that begins with /, for example /metrics',
          'Path of the engine’s Prometheus metrics.',
        ).prefault('/metrics'),
        interval: duration(
          '100ms',
          '1m',
          '1s',
          'Time between two reads; while a larger window is tried, a fifth of it.',
        ).prefault('1s'),
      },
      'What the engines say of themselves. Without it the window goes by the times to first token.',
    ).prefault({}),
    engineHelp: section(
      {
        priority: choice(
          ['off', 'auto'],
          'With `auto`, engines that take priorities are told to serve quiet tenants first, also in their own queue and when KV cache runs out.',
        ).prefault('off'),
        cacheSalt: choice(
          ['off', 'auto'],
          'With `auto`, engines that take a salt keep each tenant’s (or `trustGroup`’s) prefix cache apart: nobody learns from times what others asked. Costs the hits on prefixes that tenants share.',
        ).prefault('off'),
      },
      'What the engines are asked to do themselves, where a probe finds that they can.',
    ).prefault({}),
    health: section(
      {
        path: word(
          PATH,
          'a path that begins with /, for example /health',
          'Path that answers 200 while the engine can serve.',
        ).prefault('/health'),
        interval: duration('100ms', '10m', '2s', 'Time between two probes of an endpoint.').prefault('2s'),
        timeout: duration(
          '50ms',
          '5m',
          '5s',
          'A probe without an answer for so long has failed. SGLang’s, which takes a second, is given three at least.',
        ).prefault('5s'),
        unhealthyAfter: integer(
          1,
          100,
          'Failed probes in a row that take an endpoint out of the rotation.',
        ).prefault(2),
        healthyAfter: integer(1, 100, 'Successful probes in a row that bring it back.').prefault(1),
        slowStart: duration(
          '0s',
          '1h',
          '30s',
          'An endpoint that has come back gets to its whole window in this time, while others serve. `0s`: at once.',
        ).prefault('30s'),
      },
      'How endpoints are probed.',
    ).prefault({}),
  },
  'A pool: interchangeable endpoints.',
);

const shadow = section(
  {
    pool: name(
      'Pool that gets the copies. It must serve the model under the same name, and no model of this mapping.',
    ),
    percent: number([0, 100], 'Part of the model’s requests that are copied, in percent.'),
    maxConcurrent: integer(
      1,
      1_000,
      'Copies that run at once. Of models with one shadow pool the numbers are added up.',
    ).prefault(8),
    perSecond: number(
      [0.01, 10_000],
      'Copies that begin in a second, on average; as many may begin at once (at least one).',
    ).prefault(5),
    maxDuration: duration(
      '100ms',
      '1h',
      '60s',
      'A copy that takes longer is broken off. Models with one shadow pool must agree on it.',
    ).prefault('60s'),
  },
  'A pool that gets copies of part of the requests: nobody sees its answers, and nothing is charged for them. Default: none.',
);

const tenant = section(
  {
    tier: name('Tier whose limits apply.').optional(),
    keys: list(
      z.string({ error: must('a key in quotes, env:NAME or file:PATH') }),
      64,
      'keys',
      'API keys: `env:NAME` (environment variable), `file:PATH` (the file’s content; relative to the configuration file’s folder), or the key itself. Clients send one as `Authorization: Bearer KEY`. Default: none, which only `mode: endpoint-picker` allows.',
    ).optional(),
    models: z
      .union(
        [z.literal('*'), list(model('A model’s name.'), 1_000, 'models', 'Models that the tenant may use.')],
        { error: must('a list of model names, or "*" for all') },
      )
      .meta(about('Models that the tenant may use.', 'list of models, or `"*"` for all'))
      .prefault('*'),
    trustGroup: name(
      'Tenants of one group may share the engines’ prefix cache. Default: each is alone.',
    ).optional(),
    limits: section(
      limits,
      'Limits of this tenant; each overrides its tier’s. Default: its tier’s.',
      'the keys of `tiers.NAME`',
    ).prefault({}),
  },
  'A tenant.',
);

export const configSchema = section(
  {
    mode: choice(
      ['sidecar', 'endpoint-picker'],
      'Who asks: `sidecar` an Envoy of Fairlane’s own configuration, `endpoint-picker` a gateway that speaks the Endpoint Picker Protocol. A gateway has its own listeners, keys and routes: then `listen`, `envoy.admin`, `envoy.failureMode` and `keys` mean nothing.',
    ).prefault('sidecar'),
    picker: section(
      {
        fairnessHeader: word(
          /^[a-z0-9][a-z0-9-]{0,63}$/,
          'a header name in lower case',
          'Request header that names the tenant. The gateway must set or remove it, or clients choose who they are.',
        ).prefault(PICKER.fairnessId),
        tenant: name('Tenant of requests whose header names none. Default: they are refused.').optional(),
      },
      'For `mode: endpoint-picker`.',
    ).prefault({}),
    listen: listenAddress('127.0.0.1:8080', 'Where clients connect: Envoy’s listener.').prefault(
      '127.0.0.1:8080',
    ),
    envoy: section(
      {
        admin: parsed(
          adminAddress,
          'an IP address and a port, or unix:PATH, for example 127.0.0.1:9901, [::1]:9901 or unix:admin.sock',
          '`ip:port` or `unix:PATH`',
          'Envoy’s admin page. It only reads, and has no password: keep it on loopback, or on a Unix socket, which is for the owner only. A relative path lies in `envoy.directory`.',
        ).prefault('127.0.0.1:9901'),
        directory: word(
          /^\/[^\p{C}]{0,511}$/u,
          'an absolute path, for example /run/fairlane',
          'Folder of the files that Envoy watches and, by default, of the service’s socket; Envoy and Fairlane must both see it. Not a symbolic link, and nobody but this user (or root) may write to it or to the folders above it; a sticky one as `/tmp` is good. Default: `fairlane` in `$XDG_RUNTIME_DIR`, else `fairlane-UID` in the system’s temporary folder.',
        ).optional(),
        failureMode: choice(
          ['open', 'closed'],
          'While the service is away, `open` lets authenticated requests through to `fallbackPool` without limits, `closed` refuses them.',
        ).prefault('open'),
        fallbackPool: name(
          'Pool that serves requests while the service is away. Default: the first pool.',
        ).optional(),
        passHeaders: list(
          word(
            /^(?!x-fairlane-|x-envoy-)[a-z0-9][a-z0-9-]{0,63}$/,
            'a header name in lower case, not of x-fairlane-* or x-envoy-*',
            'A header name.',
          ),
          16,
          'header names',
          'Request headers that engines get besides those that they always get (docs/threat-model.md lists them). What an engine obeys in such a header, it obeys from every tenant. Default: none.',
        ).optional(),
        maxBodySize: size('1KiB', '128MiB', '8MiB', 'Largest request body.').prefault('8MiB'),
        ...envoyMemory,
      },
      'Envoy, in front.',
    ).prefault({}),
    service: section(
      {
        address: parsed(
          serviceAddress,
          'unix:PATH or host:port, for example unix:ext-proc.sock or 127.0.0.1:9000',
          '`unix:PATH` or `host:port`',
          'Where Fairlane listens for Envoy. A relative path lies in `envoy.directory`.',
        ).prefault('unix:ext-proc.sock'),
        metrics: parsed(
          (text) => hostPort(text, 'any'),
          'host:port with a port from 1 to 65535, for example 127.0.0.1:9464 or [::1]:9464',
          '`host:port`',
          'Where `/metrics` and the health checks are served.',
        ).prefault('127.0.0.1:9464'),
        drainTimeout: duration(
          '0s',
          '1h',
          '10s',
          'Time that running requests have to end when Fairlane stops.',
        ).prefault('10s'),
        zone: name(
          'Zone that this replica and its Envoy are in: requests prefer endpoints of the same zone in `pools.NAME.choice.zones`. Default: none.',
        ).optional(),
      },
      'Fairlane’s own service.',
    ).prefault({}),
    queue: section(
      {
        maxWait: duration(
          '100ms',
          // Envoy holds a request for an hour at most, and it has to outwait the queue.
          '55m',
          '30s',
          'Longest wait of a request in the queue; then it is refused with 503.',
        ).prefault('30s'),
        maxQueued: integer(
          1,
          1_000_000,
          'Requests waiting in one pool’s queue, all tenants together.',
        ).prefault(1_000),
        maxQueuedSize: size(
          '1KiB',
          '1024GiB',
          '256MiB',
          'Bodies of requests that wait in all pools’ queues, of all tenants; more are refused with 503. At least `envoy.maxBodySize`.',
        ).prefault('256MiB'),
        quantum: integer(
          1,
          1_000_000,
          'Weighted tokens (prompt plus twice the output) that a tenant of weight 1 may spend in each round of the queue. Small is fairer over short times, large is cheaper.',
        ).prefault(64),
      },
      'The queue.',
    ).prefault({}),
    pools: named(
      name('Pool name.'),
      pool,
      [1, 64],
      'pools',
      'The engines, by pool. A pool that no model names is asked for its models.',
    ),
    models: named(
      model('Model name, as clients send it.'),
      section(
        {
          pool: name('Pool that serves the model.'),
          cost: cost
            .meta(about('Its own cost weights, all of them. Default: `cost`.', 'the keys of `cost`'))
            .optional(),
          fallback: list(
            model('A model or an alias.'),
            16,
            'models',
            'Models or aliases that serve in its place, in this order, while no healthy endpoint serves it or its pool’s queue is full for everybody; only those that the tenant may use. Default: none.',
          ).optional(),
          canary: section(
            {
              model: model(
                'The new version: another model of this mapping. Who may use the old one may be served by it.',
              ),
              weight: number(
                [0, 100],
                'Its part of the requests, in percent. 0 sends none; after a rollback another number begins anew.',
              ).prefault(5),
              by: choice(
                ['tenant', 'session'],
                'Whose requests all go to one version: a tenant’s, or a session’s of a tenant. With few tenants the parts are uneven: then take `session`.',
              ).prefault('tenant'),
              sessionHeader: word(
                /^[a-z0-9][a-z0-9-]{0,63}$/,
                'a header name in lower case',
                'With `by: session`: request header that names the session. Requests without it are one session of their tenant.',
              ).prefault('x-session-id'),
              salt: word(
                /^[\x20-\x7e]{1,64}$/,
                '1 to 64 printable characters',
                'Another one is another draw, and a new beginning. Default: none.',
              ).optional(),
            },
            'A new version that has part of the requests until it fails or is slow more often. Default: none.',
          ).optional(),
          shadow: shadow.optional(),
        },
        'A model.',
      ),
      [0, 1_000],
      'models',
      'Which pool serves which model. Not needed for a pool whose engines announce their models at `/v1/models`.',
    ).prefault({}),
    aliases: named(
      model('Another name, as clients send it.'),
      model('The model, or another alias.'),
      [0, 1_000],
      'aliases',
      'Other names of models.',
    )
      .meta(
        about(
          'Other names: what clients send, and the model that it means (or another alias). A tenant may use an alias if its `models` has the alias or the model. See [changes.md](changes.md).',
          'mapping of names to models',
        ),
      )
      .prefault({}),
    adapters: named(
      model('Adapter name, as clients send it in `model` and as engines know it.'),
      section(
        {
          base: model('Model that it adapts; the pool of that model serves the adapter, at its cost.'),
          path: word(
            /^[^\p{C}\p{Z}](?:[^\p{C}\p{Zl}\p{Zp}]{0,1022}[^\p{C}\p{Z}])?$/u,
            'a path or name of up to 1024 characters that the engine can load, for example /adapters/legal',
            'Where the engine finds it. Default: Fairlane never loads it, and uses it where an engine lists it.',
          ).optional(),
          tenants: list(
            name('A tenant.'),
            1_000,
            'tenants',
            'Who may use it, and nobody else. Default: tenants whose `models` has it, or is `"*"`.',
          ).optional(),
        },
        'A LoRA adapter.',
      ),
      [0, 1_000],
      'adapters',
      'LoRA adapters, by the name that clients send as `model`. See [adapters.md](adapters.md).',
    ).prefault({}),
    cost: cost.prefault({}),
    lanes: named(
      word(
        /^[A-Za-z][A-Za-z0-9._-]{0,63}$/,
        'a letter, then up to 63 letters, digits, ".", "_" or "-"',
        'Lane name.',
      ),
      lane,
      [0, 32],
      'lanes',
      'Request classes, in the order in which they are asked whether a request is theirs. Without any there is one, `default`.',
    ).prefault({}),
    tiers: named(
      name('Tier name.'),
      section(limits, 'Limits of each tenant of the tier.'),
      [0, 256],
      'tiers',
      'Named sets of limits.',
    ).prefault({}),
    tenants: named(
      name('Tenant name.'),
      tenant,
      [1, 10_000],
      'tenants',
      'Who may send requests, and how many.',
    ),
    redis: section(
      {
        url: z
          .string({ error: must('a redis:// or rediss:// URL, env:NAME or file:PATH') })
          .meta(
            about(
              'A Redis or Valkey: `redis://[[user][:password]@]host[:port][/database]`, `rediss://` with TLS; `env:NAME` or `file:PATH` to keep the password out of this file. Default: `sentinels` or `cluster`.',
              'URL',
            ),
          )
          .optional(),
        sentinels: list(
          parsed((text) => hostPort(text, 'any'), 'host:port', '`host:port`', 'A sentinel.'),
          16,
          'addresses',
          'Sentinels, `host:port`, that know where the primary is. Default: none.',
        ).optional(),
        sentinelName: name('What the sentinels call the primary. Default: none.').optional(),
        cluster: list(
          parsed((text) => hostPort(text, 'any'), 'host:port', '`host:port`', 'A node.'),
          64,
          'addresses',
          'Some nodes of a Redis Cluster, `host:port`. Default: none.',
        ).optional(),
        username: word(
          /^[\x21-\x7e]{1,256}$/,
          'a name',
          'Of an ACL, where `url` has none. Default: none.',
        ).optional(),
        password: z
          .string({ error: must('env:NAME or file:PATH') })
          .regex(/^(env|file):./, { error: must('env:NAME or file:PATH') })
          .meta(about('Where `url` has none. Default: none.', '`env:NAME` or `file:PATH`'))
          .optional(),
        tls: choice(
          ['off', 'on'],
          'With `on` TLS is spoken, to sentinels too; `rediss://` does so without it.',
        ).prefault('off'),
        caFile: pemFile(
          'The authorities (PEM) that a server’s certificate must be from. Default: those that Node.js trusts.',
        ),
        certFile: pemFile('This client’s certificate (PEM), where a server asks for one. Default: none.'),
        keyFile: pemFile('Its private key (PEM), without a passphrase. Default: none.'),
        keyPrefix: word(
          /^[\x21-\x7e]{1,64}$/,
          '1 to 64 printable characters',
          'Before every key in Redis.',
        ).prefault('fairlane:'),
        maxWait: duration(
          '1ms',
          '1s',
          '10ms',
          'Longest time that a decision waits for Redis; then it is made alone. Envoy’s filter waits 20 ms by default.',
        ).prefault('10ms'),
        failureShare: number(
          [0.01, 1],
          'Part of each limit that this replica grants alone while Redis does not answer: 1 divided by the number of replicas keeps to the limit.',
        ).prefault(0.5),
      },
      'Where replicas share the levels of the rate limit service, and where they outlast a restart.',
    ).optional(),
    rateLimit: section(
      {
        directory: word(
          FILE_PATH,
          'a path, for example /etc/fairlane/limits',
          'Folder of rate limit files (`*.yaml`) in the language of envoyproxy/ratelimit; relative to the configuration file’s folder. Read again when they change. Default: the rate limit service knows no domain.',
        ).optional(),
        snapshot: word(
          FILE_PATH,
          'a path, for example /var/lib/fairlane/limits.json',
          'File in which the levels are kept over a restart; written every ten seconds and at the end, relative to the configuration file’s folder. Default: they start full.',
        ).optional(),
        mergeDomains: choice(['off', 'on'], 'With `on` a domain may be spread over several files.').prefault(
          'off',
        ),
        shadow: choice(['off', 'on'], 'With `on` everything is counted and nothing refused.').prefault('off'),
      },
      'The rate limit service (`envoy.service.ratelimit.v3`), on the port of `service.address`.',
    ).prefault({}),
    fields: section(
      {
        onForbidden: choice(
          ['drop', 'refuse'],
          'A request that carries a forbidden field goes on without it (`drop`) or is refused with 400 (`refuse`).',
        ).prefault('drop'),
        forbidden: z
          .array(
            word(
              /^[A-Za-z0-9_.-]{1,128}\*?$/,
              'a field name of up to 128 letters, digits, "_", "." or "-"; a trailing "*" matches a prefix',
              'A field.',
            ),
            { error: must('a list of at most 256 field names') },
          )
          .max(256, { error: must('a list of at most 256 field names') })
          .meta(
            about(
              'Request fields that tenants may not set: `a.b` is `b` within `a`, or within every element of it; a trailing `*` matches a prefix. Replaces the built-in list.',
              'list of field names',
            ),
          )
          .prefault([...DEFAULT_FORBIDDEN_FIELDS]),
        tools: z
          .array(
            word(
              /^[A-Za-z0-9_.-]{0,64}\*?$/,
              'a type of tools of up to 64 letters, digits, "_", "." or "-"; a trailing "*" matches a prefix',
              'A type.',
            ),
            { error: must('a list of at most 64 types of tools') },
          )
          .max(64, { error: must('a list of at most 64 types of tools') })
          .meta(
            about(
              'Types of tools that a request may bring. Others act in the engine’s network or elsewhere (`mcp`, `code_interpreter`, `web_search`, …) and are refused with 400. `mcp_servers` and `web_search_options` are fields that count as such types. `"*"` allows all.',
              'list of types',
            ),
          )
          .prefault([...DEFAULT_TOOLS]),
        state: choice(
          ['refuse', 'allow'],
          'What names something that is stored elsewhere (`conversation`, `previous_response_id`, a stored `prompt`, `item_reference`, `file_id`, `container`): it is a prompt that is not counted, and may be another tenant’s.',
        ).prefault('refuse'),
      },
      'Fields of the request body.',
    ).prefault({}),
    media: section(
      {
        urls: choice(
          ['refuse', 'allow-list', 'allow'],
          'Whether engines may fetch media (images, audio, video, files) from URLs in requests: from inside your network. `refuse` takes `data:` URLs only, `allow-list` also `http:` and `https:` from `hosts`, `allow` from anywhere. Other schemes are never taken.',
        ).prefault('refuse'),
        hosts: z
          .array(
            word(
              /^(\*\.)?[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/,
              'a host name in lower case, for example images.example.com or *.example.com',
              'A host.',
            ),
            { error: must('a list of at most 256 hosts') },
          )
          .max(256, { error: must('a list of at most 256 hosts') })
          .meta(
            about(
              'With `urls: allow-list`: hosts that media are taken from, on any port. `*.example.com` is every host below it. An engine may follow a redirect from there to anywhere.',
              'list of hosts',
            ),
          )
          .prefault([]),
        tokens: section(
          {
            image: integer(1, 1_000_000, 'Of an image: about 1,000 for a megapixel.').prefault(1_024),
            audio: integer(
              1,
              1_000_000,
              'Of an audio clip, at least; longer ones count by their size.',
            ).prefault(256),
            video: integer(1, 1_000_000, 'Of a video, at least; longer ones count by their size.').prefault(
              2_048,
            ),
            file: integer(1, 1_000_000, 'Of a file, at least; larger ones count by their size.').prefault(
              1_024,
            ),
          },
          'Prompt tokens that one medium is predicted to take; the engine’s own count is charged in the end.',
        ).prefault({}),
      },
      'Media in prompts.',
    ).prefault({}),
    log: section(
      {
        level: choice(['debug', 'info', 'warn', 'error'], 'Least severe lines that are written.').prefault(
          'info',
        ),
      },
      'The log.',
    ).prefault({}),
  },
  'Fairlane’s configuration.',
);

export type WrittenConfig = z.output<typeof configSchema>;

/** What a walk over the schema needs of JSON Schema. */
export interface SchemaNode {
  readonly description?: string;
  readonly shown?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: SchemaNode | boolean;
  readonly items?: SchemaNode;
}

/** The schema of what users write, before defaults. */
export const writtenSchema = z.toJSONSchema(configSchema, { io: 'input' }) as SchemaNode;

/** The keys that may stand in the mapping at `path`; none where keys are names. */
export function knownKeys(path: readonly PropertyKey[]): readonly string[] {
  let node: SchemaNode | undefined = writtenSchema;
  for (const step of path) {
    if (node === undefined) return [];
    const { properties, additionalProperties, items }: SchemaNode = node;
    const isSetting = typeof step === 'string' && properties && Object.hasOwn(properties, step);
    if (isSetting) node = properties[step];
    else node = typeof additionalProperties === 'object' ? additionalProperties : items;
  }
  return Object.keys(node?.properties ?? {});
}
