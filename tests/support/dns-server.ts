/** A DNS server for tests: answers A and AAAA questions over UDP with what it was told. */
import { createSocket, type Socket } from 'node:dgram';
import { isIP } from 'node:net';

export interface DnsServer {
  /** `127.0.0.1:port`, as `service.dns.servers` takes it. */
  readonly address: string;
  /** Questions so far. */
  readonly asked: () => number;
  /** What a name stands for from now on; `broken`: SERVFAIL. A name that was never set does not exist. */
  set(name: string, addresses: readonly string[] | 'broken'): void;
  close(): Promise<void>;
}

const A = 1;
const AAAA = 28;
const SERVFAIL = 2;
const NXDOMAIN = 3;

function nameIn(message: Buffer): { readonly name: string; readonly end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = message[at] ?? 0; length > 0; length = message[at] ?? 0) {
    labels.push(message.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.').toLowerCase(), end: at + 1 };
}

function bytesOf(address: string): Buffer {
  if (isIP(address) === 4) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail] = address.split('::');
  const groups = (text: string | undefined): string[] => (text ? text.split(':') : []);
  const [before, after] = [groups(head), groups(tail)];
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0');
  return Buffer.from([...before, ...zeros, ...after].map((group) => group.padStart(4, '0')).join(''), 'hex');
}

function answerTo(question: Buffer, names: ReadonlyMap<string, readonly string[] | 'broken'>): Buffer {
  const { name, end } = nameIn(question);
  const type = question.readUInt16BE(end);
  const known = names.get(name);
  const records = (known === undefined || known === 'broken' ? [] : known)
    .filter((address) => (isIP(address) === 4 ? A : AAAA) === type)
    .map((address) => {
      const bytes = bytesOf(address);
      const head = Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 0, 0, bytes.length]);
      return Buffer.concat([head, bytes]);
    });
  const header = Buffer.alloc(12);
  question.copy(header, 0, 0, 2);
  const code = known === 'broken' ? SERVFAIL : known === undefined ? NXDOMAIN : 0;
  header.writeUInt16BE(0x8580 | code, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(records.length, 6);
  return Buffer.concat([header, question.subarray(12, end + 4), ...records]);
}

export async function startDnsServer(): Promise<DnsServer> {
  const names = new Map<string, readonly string[] | 'broken'>();
  let asked = 0;
  const socket: Socket = createSocket('udp4');
  socket.on('message', (question, from) => {
    asked += 1;
    socket.send(answerTo(question, names), from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  return {
    address: `127.0.0.1:${socket.address().port}`,
    asked: () => asked,
    set: (name, addresses) => void names.set(name, addresses),
    close: () => new Promise((resolve) => socket.close(resolve)),
  };
}
