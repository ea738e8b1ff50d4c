/**
 * The architecture rules. A file whose name begins with a technology does I/O; every other file in src/ is pure.
 * tests/unit/architecture.test.ts runs these rules over src/ and over a fixture that breaks each of them.
 */
const IO = '/(grpc|http|http2|fs|prom|pino|process|redis|dns)-[a-z0-9-]+\\.ts$';

module.exports = {
  forbidden: [
    {
      name: 'only-composition-imports-io',
      comment: 'Only main.ts, the commands in cli/ and other I/O files may import a file that does I/O.',
      severity: 'error',
      from: { path: 'src/', pathNot: ['src/main\\.ts$', 'src/cli/', IO] },
      to: { path: `src/.*${IO}` },
    },
    {
      name: 'pure-files-use-no-io-module',
      comment: 'A file without a technology prefix decides; it does no I/O, so it imports none.',
      severity: 'error',
      from: { path: 'src/', pathNot: ['src/main\\.ts$', 'src/cli/', IO] },
      to: {
        path: '^(node:)?(fs|fs/promises|net|tls|http|http2|https|dns|dns/promises|child_process|cluster|worker_threads|dgram|os|timers|timers/promises|readline)$|node_modules/(@grpc|prom-client|pino|ioredis|undici)(/|$)',
      },
    },
    {
      name: 'domain-stands-alone',
      comment: 'domain/ is the vocabulary; it imports no feature.',
      severity: 'error',
      from: { path: 'src/domain/' },
      to: { path: 'src/', pathNot: 'src/domain/' },
    },
    {
      name: 'io-stays-at-home',
      comment:
        "A feature never imports another feature's I/O. grpc/ and files/ are no features: one is the server under the gRPC edges, one writes what is nobody else's.",
      severity: 'error',
      from: { path: 'src/([^/]+)/', pathNot: 'src/cli/' },
      to: { path: `src/.*${IO}`, pathNot: ['src/$1/', 'src/(grpc|files)/'] },
    },
    {
      name: 'carriers-know-no-feature',
      comment: 'What carries messages, or keeps files, does not know what they say.',
      severity: 'error',
      from: { path: 'src/(grpc|files)/' },
      to: { path: 'src/', pathNot: 'src/$1/' },
    },
    {
      name: 'nobody-imports-the-composition-root',
      severity: 'error',
      from: { path: 'src/', pathNot: ['src/cli/', 'src/main\\.ts$'] },
      to: { path: 'src/(cli/|main\\.ts$)' },
    },
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
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
      to: { path: '(^|/)(tests|bench)/', pathNot: ['tests/fixtures/[^/]+/src/', '(^|/)src/bench/'] },
    },
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.cjs', '.mjs', '.json'] },
  },
};
