/** What an engine can do wrong. For tests; the program never sets one. */
import type { ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';

export type Fault =
  | {
      readonly kind: 'status';
      readonly status: number;
      readonly body?: string;
      readonly headers?: Readonly<Record<string, string>>;
    }
  | { readonly kind: 'hang' }
  | { readonly kind: 'garbage' }
  | { readonly kind: 'die-mid-stream'; readonly afterTokens: number }
  | { readonly kind: 'slow-headers'; readonly ms: number }
  | { readonly kind: 'gzip' }
  | { readonly kind: 'unhealthy' }
  | { readonly kind: 'error-frame' }
  | { readonly kind: 'no-usage' }
  | { readonly kind: 'split'; readonly bytes: number }
  | { readonly kind: 'trailers' }
  /** Of /metrics. */
  | { readonly kind: 'gauges'; readonly are: 'absent' | 'zero' | 'frozen' };

/** How the bytes of a stream leave, by what is wrong with the engine. */
export function writeTo(response: ServerResponse, fault: Fault | undefined): (text: string) => void {
  if (fault?.kind === 'gzip') return (text) => void response.write(gzipSync(text));
  if (fault?.kind === 'split') return writeInPieces(response, fault.bytes);
  return (text) => void response.write(text);
}

/** Each piece is a write of its own, and a TCP segment of its own where the other side reads fast enough. */
function writeInPieces(response: ServerResponse, size: number): (text: string) => void {
  let last = Promise.resolve();
  const end = response.end.bind(response);
  response.end = ((...args: []) => {
    void last.then(() => end(...args));
    return response;
  }) as typeof response.end;
  return (text) => {
    const bytes = Buffer.from(text);
    last = last.then(async () => {
      for (let at = 0; at < bytes.length && !response.destroyed; at += size) {
        response.write(bytes.subarray(at, at + size));
        await new Promise((resolve) => setImmediate(resolve));
      }
    });
  };
}
