/** Which Fairlane this is. */
export interface BuildInfo {
  /** Of the package. */
  readonly version: string;
  /** Of the source; absent: the build did not say. */
  readonly commit?: string;
}
