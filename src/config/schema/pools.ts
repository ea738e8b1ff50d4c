/** `pools`: the engines, and how they are asked, probed and chosen. */
import * as z from 'zod';
import { API_ALONE, ENGINE_KINDS } from '../../domain/engine-kinds.ts';
import { PROFILE_NAMES, SCORERS, type ScorerName } from '../../domain/routing-profiles.ts';
import { must } from '../values.ts';
import {
  about,
  choice,
  duration,
  engineUrl,
  filePath,
  headerName,
  integer,
  list,
  name,
  named,
  number,
  orAuto,
  pagePath,
  secret,
  section,
  size,
  word,
  yes,
} from './dsl.ts';
import { gpuPrice } from './gpu-price.ts';

const scoreWeight = (description: string) =>
  number([0, 100], `${description} Default: the profile’s.`).optional();
const scoreWeights = Object.fromEntries(
  Object.entries(SCORERS).map(([scorer, description]) => [scorer, scoreWeight(description)]),
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
      engineUrl(),
      255,
      'URLs',
      'With `routing: slow-client-isolation` or `class-aware`: endpoints of this pool that are kept for clients that were seen to read slowly, as they are written in `endpoints`. Default: none.',
    ).optional(),
    sessionHeader: headerName(
      'Request header that names a session, for example of an agent: its next request goes where the last one was served. Without it `prompt_cache_key` of the body does, and without that the beginning of the conversation.',
    ).prefault('x-session-id'),
    zones: named(
      name('Zone name.'),
      list(engineUrl(), 256, 'URLs', 'Endpoints in this zone.'),
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

const apiKey = (description: string) => secret(description).optional();

const tls = (description: string) =>
  section(
    {
      ca: filePath(
        'engines-ca.pem',
        'The authorities (PEM) that an engine’s certificate must be from. Default: those that Node.js comes with.',
      ).optional(),
      cert: filePath(
        'client.pem',
        'This client’s certificate (PEM), with those between it and its authority, where an engine asks for one. Default: none.',
      ).optional(),
      key: filePath(
        'client-key.pem',
        'Its private key (PEM), without a passphrase. Default: none.',
      ).optional(),
      serverName: word(
        /^[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/,
        'a host name, for example engine.example.com',
        'The name that an engine is asked for (SNI), and that its certificate must have. Default: the host of its URL.',
      ).optional(),
      insecureSkipVerify: yes(
        'With `true` whoever answers is taken for the engine, and gets its key and all prompts. For tries only. Default: `false`.',
      ).optional(),
    },
    description,
  ).optional();

const endpointObject = section(
  {
    url: z
      .string({ error: must('a URL, or env:NAME') })
      .meta(
        about(
          'Where the engine is: scheme, host, port and what stands before `/v1` in its paths, or `env:NAME`.',
          'URL',
        ),
      ),
    apiKey: apiKey('The engine’s key, in place of the pool’s. Default: the pool’s.'),
    tls: tls('How TLS is spoken to this engine; what is not here is as in the pool’s `tls`.'),
    weight: number(
      [0.01, 1_000],
      'This endpoint’s part of the load, relative to the others of the pool.',
    ).prefault(1),
  },
  'An engine.',
);

const endpoint = z.union([engineUrl(), endpointObject], {
  error: must('a URL, env:NAME, or a mapping with url'),
});

const pool = section(
  {
    endpoints: list(
      endpoint,
      256,
      'URLs',
      'The engines: `http://host:port` or `https://host:port/prefix`, `env:NAME` to take the URL from an environment variable, `env:NAME?` where it may be absent, or a mapping. A `/v1` at the end may be written or not. All must serve the same models. See [engines](../how-to/engines.md).',
    ),
    apiKey: apiKey(
      'The key that the engines want (vLLM: `--api-key`). Envoy adds it to requests, Fairlane to its own. Default: none.',
    ),
    tls: tls('How TLS is spoken to the pool’s `https://` endpoints.'),
    drain: list(
      engineUrl(),
      256,
      'URLs',
      'Endpoints of this pool that get no new requests, as they are written in `endpoints`: what they have ends as usual, and the log says when they are empty. Default: none.',
    ).optional(),
    routing: choice(
      ['least-loaded', ...PROFILE_NAMES],
      'Which endpoint with room gets a request. `least-loaded` counts what is in flight. The others weigh also what waits to be computed, room in the KV cache, and where the beginning of the prompt, of this tenant or its trust group, was computed last: `prefix-cache` weighs that most, `interactive` the queue, `large-tokens` the room, `slow-client-isolation` keeps clients that read slowly together; `class-aware` does what suits each request. See [routing.md](routing.md).',
    ).prefault('least-loaded'),
    choice: endpointChoice.prefault({}),
    kvCache: kvCache.optional(),
    gpuPrice,
    engine: choice(
      ['auto', API_ALONE, ...ENGINE_KINDS],
      'What the endpoints are: it decides which metrics, health answers and fields are theirs. `auto` asks each endpoint, so that a pool may have several kinds. `openai` is any other API like OpenAI’s (Ollama, hosted ones): no gauges are read, and no pages but `/v1/models` are asked.',
    ).prefault('auto'),
    concurrencyLimit: orAuto(
      [1, 10_000],
      'Sequences that one endpoint works on at once. More wait in Fairlane’s queue, where the order is fair. `auto` finds the number at which the engine is full and its own queue is empty; a number (vLLM: `--max-num-seqs`) is kept.',
    ).prefault('auto'),
    adaptersPerEndpoint: integer(
      1,
      1_000,
      'Places for LoRA adapters on each endpoint: Fairlane loads and unloads those of `adapters` that have a `path` within it. Default: Fairlane loads none; adapters that engines list are used.',
    ).optional(),
    prefillTokens: integer(
      1,
      1_000_000,
      'While tenants below their fair share are active: prompt tokens per endpoint that may wait for their computation. A request of such a tenant shares its step with no more. A longer prompt goes alone.',
    ).prefault(2_048),
    headroom: orAuto(
      [0, 1_000],
      'Slots of the pool that are kept free for tenants below their fair share, while such are active. `auto`: as many as leave one in a hundred of their requests without one, at most a sixteenth of the concurrency limit. More makes these tenants faster, less keeps the engines fuller.',
    ).prefault('auto'),
    gauges: section(
      {
        path: pagePath('/metrics', 'Path of the engine’s Prometheus metrics.').prefault('/metrics'),
        interval: duration(
          '100ms',
          '1m',
          '1s',
          'Time between two reads; while a larger concurrency limit is probed, a fifth of it.',
        ).prefault('1s'),
      },
      'What the engines say of themselves. Without it the concurrency limit goes by the times to first token.',
    ).prefault({}),
    engineCapabilities: section(
      {
        priority: choice(
          ['off', 'auto'],
          'With `auto`, engines that take priorities are told to serve tenants below their fair share first, also in their own queue and when KV cache runs out.',
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
        path: pagePath(
          '/health',
          'Path that answers 200 while the engine can serve. Default: `/health`; with `engine: openai`, `/v1/models`.',
        ).optional(),
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
          'An endpoint that has come back gets to its whole concurrency limit in this time, while others serve. `0s`: at once.',
        ).prefault('30s'),
      },
      'How endpoints are probed.',
    ).prefault({}),
  },
  'A pool: interchangeable endpoints.',
);

export const pools = named(
  name('Pool name.'),
  pool,
  [1, 64],
  'pools',
  'The engines, by pool. A pool that no model names is asked for its models.',
);
