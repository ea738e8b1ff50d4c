/**
 * The architecture rules (docs/explanation/architecture.md has the floors as a picture).
 *
 * - A folder imports only from folders on lower floors, and there are no cycles of files or folders.
 * - A file whose name begins with a technology does I/O; every other file in src/ is pure.
 *
 * tests/unit/architecture.test.ts runs these rules over src/ and over a fixture that breaks each of them.
 */
const IO =
  '/((grpc|http|http2|fs|prom|otlp|pino|process|redis|dns|sqlite|pg|worker)-[a-z0-9-]+|database/open-database)\\.ts$';
/** Where parts are put together, so I/O is imported. */
const COMPOSITION = ['src/service/', 'src/cli/'];

/** From the top down. A new folder goes on the lowest floor from which it can see what it needs. */
const FLOORS = [
  // Runs in a browser: of the service it knows the types alone.
  { name: 'console', folders: ['console'] },
  { name: 'commands', folders: ['cli'] },
  { name: 'composition', folders: ['service'] },
  { name: 'edges', folders: ['ext-proc', 'rate-limit-service', 'admin'] },
  { name: 'ways', folders: ['admission', 'lora', 'loadtest'] },
  {
    name: 'parts',
    folders: ['queue', 'rollout', 'tenant', 'engine', 'telemetry', 'envoy', 'ledger', 'dashboards'],
  },
  { name: 'pool', folders: ['pool'] },
  { name: 'routing', folders: ['routing'] },
  { name: 'api', folders: ['openai', 'usage', 'conversation'] },
  { name: 'ground', folders: ['config', 'limit', 'grpc', 'database', 'simulator'] },
  { name: 'foundation', folders: ['domain', 'files'] },
];

const floorRules = FLOORS.map(({ name, folders }, i) => {
  const lower = FLOORS.slice(i + 1).flatMap((floor) => floor.folders);
  return {
    name: `floor-${name}`,
    comment:
      `${folders.map((folder) => `${folder}/`).join(', ')} may import ${lower.length === 0 ? 'nothing of src/' : `only ${lower.join(', ')}`}. ` +
      'What two floors need belongs on the lower one; what a lower floor asks of a higher one is an interface on the lower floor (pool/lora-placement.ts is one).',
    severity: 'error',
    from: { path: `src/(${folders.join('|')})/` },
    to: {
      path: 'src/[^/]+/',
      pathNot: ['src/$1/', ...(lower.length === 0 ? [] : [`src/(${lower.join('|')})/`])],
    },
  };
});

module.exports = {
  forbidden: [
    ...floorRules,
    {
      name: 'every-folder-has-a-floor',
      comment:
        'A new folder in src/ needs a place in FLOORS (.dependency-cruiser.cjs); no file lies in src/ itself.',
      severity: 'error',
      from: {},
      to: {
        path: 'src/',
        pathNot: ['node_modules', `src/(${FLOORS.flatMap(({ folders }) => folders).join('|')})/`],
      },
    },
    {
      name: 'only-composition-imports-io',
      comment: 'Only service/, the commands in cli/ and other I/O files may import a file that does I/O.',
      severity: 'error',
      from: { path: 'src/', pathNot: [...COMPOSITION, IO] },
      to: { path: `src/.*${IO}` },
    },
    {
      name: 'pure-files-use-no-io-module',
      comment: 'A file without a technology prefix decides; it does no I/O, so it imports none.',
      severity: 'error',
      from: { path: 'src/', pathNot: [...COMPOSITION, IO] },
      to: {
        path: '^(node:)?(fs|fs/promises|net|tls|http|http2|https|dns|dns/promises|child_process|cluster|worker_threads|dgram|os|timers|timers/promises|readline)$|node_modules/(@grpc|prom-client|pino|ioredis|undici|libsql|pg)(/|$)',
      },
    },
    {
      name: 'io-stays-at-home',
      comment:
        "A feature never imports another feature's I/O. grpc/, files/ and database/ are no features: one is the server under the gRPC edges, one writes what is nobody else's, one keeps tables. engine/http-probe.ts is how an engine is asked, by lora/ too.",
      severity: 'error',
      from: { path: 'src/([^/]+)/', pathNot: COMPOSITION },
      to: {
        path: `src/.*${IO}`,
        pathNot: ['src/$1/', 'src/(grpc|files|database)/', 'src/engine/http-probe\\.ts$'],
      },
    },
    {
      name: 'carriers-know-no-feature',
      comment: 'What carries messages, or keeps files, does not know what they say.',
      severity: 'error',
      from: { path: 'src/(grpc|files|database)/' },
      to: { path: 'src/', pathNot: 'src/$1/' },
    },
    {
      name: 'console-imports-types-alone',
      comment: "The page is the browser's: what it imports of the service are types of admin/.",
      severity: 'error',
      from: { path: 'src/console/' },
      to: { path: 'src/', pathNot: ['src/console/', 'src/admin/(console-feed|status)\\.ts$'] },
    },
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-folder-cycles', severity: 'error', scope: 'folder', from: {}, to: { circular: true } },
    {
      name: 'no-unresolved',
      comment: 'An import that is not resolved is an import that no rule sees.',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
    {
      name: 'sources-never-import-tests',
      severity: 'error',
      from: { path: 'src/' },
      to: { path: '(^|/)(tests|bench)/', pathNot: ['tests/fixtures/[^/]+/src/'] },
    },
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.cjs', '.mjs', '.json'] },
  },
};
