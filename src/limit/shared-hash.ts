/** A hash of texts that replicas share, with a list of its changes; its version is the length of that. Each throws when it is away. */
export interface SharedHash {
  version(): Promise<number>;
  read(): Promise<{ readonly version: number; readonly fields: ReadonlyMap<string, string> }>;
  /** All of it, or nothing when the version is another one: false. */
  write(
    base: number,
    put: ReadonlyMap<string, string>,
    removed: readonly string[],
    change: string,
  ): Promise<boolean>;
  /** Fields that make no version. */
  note(fields: ReadonlyMap<string, string>): Promise<void>;
  /** Changes from `from` to `to` of the list, by place from 0, both with. */
  changes(from: number, to: number): Promise<readonly string[]>;
}
