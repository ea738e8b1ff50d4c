/** The SHA-256 of the script that knows hashed keys, as a real Envoy computes it, against that of Node.js. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type JsonMap, socketAddress, type } from '../../src/envoy/envoy-json.ts';
import { SHA256_LUA } from '../../src/envoy/hashed-keys.ts';
import { type RunningEnvoy, startEnvoy } from '../../src/envoy/process-envoy.ts';
import { envoyForTests } from '../support/envoy.ts';
import { freePorts } from '../support/ports.ts';

let envoy: RunningEnvoy;
let url = '';
const directory = mkdtempSync(join(tmpdir(), 'fairlane-test-'));

/** Answers with the digests of texts that come in hexadecimal, with a comma between two. */
const SCRIPT = `${SHA256_LUA}
function envoy_on_request(handle)
  local digests = {}
  for hex in (handle:headers():get("x-texts") .. ","):gmatch("([^,]*),") do
    local text = hex:gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end)
    digests[#digests + 1] = sha256(text)
  end
  handle:respond({[":status"] = "200"}, table.concat(digests, ","))
end
`;

const listenerOf = (port: number): JsonMap => ({
  name: 'sha256',
  address: socketAddress({ host: '127.0.0.1', port }),
  filter_chains: [
    {
      filters: [
        {
          name: 'envoy.filters.network.http_connection_manager',
          typed_config: {
            ...type('envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager'),
            stat_prefix: 'sha256',
            route_config: { virtual_hosts: [{ name: 'all', domains: ['*'], routes: [] }] },
            http_filters: [
              {
                name: 'lua',
                typed_config: {
                  ...type('envoy.extensions.filters.http.lua.v3.Lua'),
                  default_source_code: { inline_string: SCRIPT },
                },
              },
              {
                name: 'router',
                typed_config: type('envoy.extensions.filters.http.router.v3.Router'),
              },
            ],
          },
        },
      ],
    },
  ],
});

beforeAll(async () => {
  const [port = 0, admin = 0] = await freePorts(2);
  url = `http://127.0.0.1:${port}`;
  const address = { host: '127.0.0.1', port: admin };
  envoy = await startEnvoy({
    envoy: await envoyForTests(),
    bootstrap: {
      node: { id: 'test', cluster: 'test' },
      admin: { address: socketAddress(address) },
      static_resources: { listeners: [listenerOf(port)] },
    },
    directory,
    admin: address,
    concurrency: 1,
    onLog: () => undefined,
  });
});
afterAll(async () => {
  await envoy.stop(500);
  rmSync(directory, { recursive: true, force: true });
});

it('is that of FIPS 180-4, for every length to 200 and for bytes of all kinds', async () => {
  const texts = Array.from({ length: 201 }, (_, length) => length).flatMap((length) => [
    Buffer.alloc(length, 'a'),
    Buffer.alloc(length, 0xff),
    randomBytes(length),
    randomBytes(length),
  ]);
  for (let at = 0; at < texts.length; at += 60) {
    const some = texts.slice(at, at + 60);
    const response = await fetch(url, {
      headers: { 'x-texts': some.map((text) => text.toString('hex')).join(',') },
    });
    expect((await response.text()).split(',')).toEqual(
      some.map((text) => createHash('sha256').update(text).digest('hex')),
    );
  }
});
