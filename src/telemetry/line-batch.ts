/** Lines that are written together: each write is a call of the operating system, and a request has one line. */

/** What a pipe takes in one piece, whoever else writes to it: in bytes, which those of a log nearly always are. */
const PIECE_CHARACTERS = 4_096;

export class LineBatch {
  private readonly write: (lines: string) => void;
  private readonly later: (flush: () => void) => void;
  private lines = '';
  private isDue = false;
  private readonly flushLater = (): void => {
    this.isDue = false;
    this.flush();
  };

  /** @param later calls back after a short while; asked once for each batch, and never for none. */
  constructor(write: (lines: string) => void, later: (flush: () => void) => void) {
    this.write = write;
    this.later = later;
  }

  /** @param line with its line feed. It is written in its turn, whole. */
  add(line: string): void {
    if (this.lines.length + line.length > PIECE_CHARACTERS) this.flush();
    this.lines += line;
    if (this.isDue) return;
    this.isDue = true;
    this.later(this.flushLater);
  }

  /** Writes what is there now. */
  flush(): void {
    const { lines } = this;
    if (lines === '') return;
    this.lines = '';
    this.write(lines);
  }
}
