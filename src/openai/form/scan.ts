/**
 * A body of `multipart/form-data` and where its parts are. Nothing of it is copied: the scan looks for the boundary, a window at a
 * time, and reads the heads of the parts.
 *
 * It takes one form only, that of today's clients. Readers differ in what else they forgive (line feeds alone, text before and
 * behind, white space behind a boundary, a boundary that goes on), so wherever the boundary stands it must be a delimiter to all of
 * them: a client chooses one that its content does not have.
 */
import { type PartHead, readPartHead } from './head.ts';

export interface FormPart extends PartHead {
  /** Where its delimiter begins. */
  readonly start: number;
  /** Behind the delimiter's line. */
  readonly headStart: number;
  readonly dataStart: number;
  readonly dataEnd: number;
}

export interface FormDocument {
  readonly bytes: Buffer;
  readonly parts: readonly FormPart[];
}

export type FormReading =
  | { readonly kind: 'ok'; readonly form: FormDocument }
  | { readonly kind: 'bad'; readonly message: string };

const MOST_PARTS = 64;
/** In bytes. */
const LONGEST_HEAD = 4_096;
/** Bytes that a step looks at: well under a millisecond. */
const STEP_BYTES = 524_288;

const CRLF = '\r\n';
/** Before every boundary, and behind the last. */
const HYPHENS = '--';
const END_OF_HEAD = Buffer.from('\r\n\r\n');

const IN_A_PART = 'its boundary stands in a part, which readers would divide in different ways';

type OpenPart = Omit<FormPart, 'dataEnd'>;

const bad = (what: string): FormReading => ({ kind: 'bad', message: `The form could not be read: ${what}.` });

/** Reads one body, a step at a time. */
export class FormScan {
  private readonly bytes: Buffer;
  /** Without the hyphens before it: some readers look for it alone. */
  private readonly marker: Buffer;
  private at = 0;
  private readonly parts: FormPart[] = [];
  /** The part whose end is looked for. */
  private open: OpenPart | undefined = undefined;

  /** @param boundary from boundaryOf(). */
  constructor(bytes: Uint8Array, boundary: string) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.marker = Buffer.from(boundary, 'latin1');
  }

  /** @returns undefined: there is more to read. */
  step(): FormReading | undefined {
    const { bytes, marker, at } = this;
    const until = Math.min(bytes.length, at + STEP_BYTES + marker.length - 1);
    const found = bytes.subarray(at, until).indexOf(marker);
    if (found >= 0) return this.delimiter(at + found - HYPHENS.length);
    if (until === bytes.length) return bad('it ends before its last boundary');
    this.at = at + STEP_BYTES;
    return undefined;
  }

  /** All that is left to read. */
  rest(): FormReading {
    let result: FormReading | undefined;
    do result = this.step();
    while (result === undefined);
    return result;
  }

  private delimiter(start: number): FormReading | undefined {
    const { bytes, marker, open } = this;
    const behind = start + HYPHENS.length + marker.length;
    if (start < 0 || this.textAt(start) !== HYPHENS) {
      return bad(IN_A_PART);
    }
    if (open === undefined) {
      if (start !== 0) return bad('something stands before its first boundary');
    } else {
      const dataEnd = start - CRLF.length;
      if (dataEnd < open.dataStart || this.textAt(dataEnd) !== CRLF) {
        return bad(IN_A_PART);
      }
      if (open.length !== undefined && open.length !== dataEnd - open.dataStart) {
        return bad('a part is not as long as its `content-length` says');
      }
      this.parts.push({ ...open, dataEnd });
    }
    const next = this.textAt(behind);
    if (next === CRLF) return this.head(start, behind + CRLF.length);
    if (next !== HYPHENS) return bad('its boundary goes on where a line should end');
    const rest = bytes.length - behind - 2;
    const endsWell = rest === 0 || (rest === CRLF.length && this.textAt(behind + 2) === CRLF);
    if (!endsWell) return bad('something stands behind its last boundary');
    return this.parts.length === 0
      ? bad('it has no parts')
      : { kind: 'ok', form: { bytes, parts: this.parts } };
  }

  private head(start: number, headStart: number): FormReading | undefined {
    const { bytes } = this;
    if (this.parts.length === MOST_PARTS) return bad(`it has more than ${MOST_PARTS} parts`);
    const room = bytes.subarray(headStart, headStart + LONGEST_HEAD);
    const length = room.indexOf(END_OF_HEAD);
    if (length < 0) return bad(`the head of a part does not end within ${LONGEST_HEAD} bytes`);
    const head = readPartHead(room.toString('latin1', 0, length));
    if (typeof head === 'string') return bad(head);
    this.open = { ...head, start, headStart, dataStart: headStart + length + END_OF_HEAD.length };
    // A boundary in the head is none to some readers: it is found from here, and refused.
    this.at = headStart;
    return undefined;
  }

  /** Two bytes. */
  private textAt(at: number): string {
    return this.bytes.toString('latin1', at, at + 2);
  }
}

/** Reads a whole body at once. */
export const readForm = (bytes: Uint8Array, boundary: string): FormReading =>
  new FormScan(bytes, boundary).rest();
