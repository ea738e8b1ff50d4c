/** Reads an event that is too large to be kept, as it passes. */
import { AnswerScan } from './answer-scan.ts';
import { EVENT } from './answer-shapes.ts';
import type { Fields } from './usage.ts';

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const DATA = Buffer.from('data:');
const LINE_BREAK = Buffer.from('\n');

export class LongEvent {
  private readonly taken: (event: Fields) => void;
  private scan = new AnswerScan(EVENT);
  /** Of lines that have ended. */
  private passedText = 0;

  /** Bytes of the field's name that have been found in the current line; -1: another field, or none. */
  private named = 0;
  /** The value of a `data` line has begun, and with it its text, behind one space that may come first. */
  private isData = false;
  private mayBeSpace = false;

  /** @param taken gets each event that is whole: more than one where blank lines are left out. */
  constructor(taken: (event: Fields) => void) {
    this.taken = taken;
  }

  /** Bytes of text so far, about. */
  textBytes(): number {
    return this.passedText + this.scan.textBytes();
  }

  /** What has come is an event that needs no more. */
  isWhole(): boolean {
    return this.scan.isWhole();
  }

  push(data: Buffer): void {
    let i = 0;
    while (i < data.length) {
      if (this.isData) i = this.value(data, i);
      else if (this.named < 0) {
        i = lineEnd(data, i);
        if (i < data.length) {
          this.named = 0;
          i += 1;
        }
      } else {
        this.name(data[i] as number);
        i += 1;
      }
    }
  }

  end(): void {
    const event = this.scan.value();
    if (event !== undefined) this.taken(event);
    this.passedText += this.scan.textBytes();
    this.scan = new AnswerScan(EVENT);
  }

  private name(byte: number): void {
    if (byte === LF || byte === CR) this.named = 0;
    else if (byte !== DATA[this.named]) this.named = -1;
    else if (this.named < DATA.length - 1) this.named += 1;
    else this.begin();
  }

  /** JSON that is spread over lines goes on; what is whole, or will be none, does not. */
  private begin(): void {
    this.isData = true;
    this.mayBeSpace = true;
    const { scan } = this;
    if (scan.isWhole() || scan.isBroken()) this.end();
    else if (!scan.isEmpty()) scan.push(LINE_BREAK);
  }

  private value(data: Buffer, from: number): number {
    let i = from;
    if (this.mayBeSpace) {
      this.mayBeSpace = false;
      if (data[i] === SPACE) i += 1;
    }
    const end = lineEnd(data, i);
    if (end > i) this.scan.push(data.subarray(i, end));
    if (end === data.length) return end;
    this.isData = false;
    this.named = 0;
    return end + 1;
  }
}

function lineEnd(data: Buffer, from: number): number {
  let i = from;
  while (i < data.length && data[i] !== LF && data[i] !== CR) i += 1;
  return i;
}
