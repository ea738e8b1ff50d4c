/** The readers of others, each a process that is asked in frames: a length of four bytes, little-endian, and as many bytes. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';

export const framed = (data: Buffer | string): Buffer => {
  const bytes = Buffer.from(data);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(bytes.length);
  return Buffer.concat([length, bytes]);
};

interface Asker {
  readonly resolve: (answer: Buffer) => void;
  readonly reject: (error: Error) => void;
}

/** One process. Its answers come in the order of the questions. */
export class Oracle {
  private readonly name: string;
  private readonly child: ChildProcessWithoutNullStreams;
  private readonly askers: Asker[] = [];
  /** Said before anybody asked: its version. */
  private readonly unasked: Buffer[] = [];
  private pieces: Buffer[] = [];
  private held = 0;
  private wanted = 4;
  private said = '';
  private failure: Error | undefined;

  constructor(name: string, program: string, args: readonly string[]) {
    this.name = name;
    this.child = spawn(program, args, { stdio: 'pipe' });
    this.child.stdout.on('data', (chunk: Buffer) => this.receive(chunk));
    this.child.stderr.on('data', (chunk: Buffer) => {
      this.said = `${this.said}${chunk.toString()}`.slice(-2_000);
    });
    this.child.stdin.on('error', () => undefined);
    this.child.on('error', (error) => this.fail(error.message));
    this.child.on('close', (code) => this.fail(`it ended (${code ?? 'killed'})`));
  }

  /** What it says after `frames`; without them, what it says by itself. */
  ask(...frames: readonly Buffer[]): Promise<Buffer> {
    if (this.failure !== undefined) return Promise.reject(this.failure);
    const early = this.unasked.shift();
    if (early !== undefined) return Promise.resolve(early);
    const answer = new Promise<Buffer>((resolve, reject) => this.askers.push({ resolve, reject }));
    for (const frame of frames) this.child.stdin.write(frame);
    return answer;
  }

  close(): void {
    this.child.stdin.end();
  }

  private receive(chunk: Buffer): void {
    this.pieces.push(chunk);
    this.held += chunk.length;
    if (this.held < this.wanted) return;
    let bytes = Buffer.concat(this.pieces);
    while (bytes.length >= 4) {
      const length = bytes.readUInt32LE(0);
      if (bytes.length < 4 + length) break;
      const [answer, asker] = [bytes.subarray(4, 4 + length), this.askers.shift()];
      if (asker === undefined) this.unasked.push(answer);
      else asker.resolve(answer);
      bytes = bytes.subarray(4 + length);
    }
    this.wanted = bytes.length < 4 ? 4 : 4 + bytes.readUInt32LE(0);
    this.pieces = [bytes];
    this.held = bytes.length;
  }

  private fail(why: string): void {
    this.failure ??= new Error(`The reader ${this.name} is gone: ${why}\n${this.said}`);
    for (const { reject } of this.askers.splice(0)) reject(this.failure);
  }
}
