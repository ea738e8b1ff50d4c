/** `mode: endpoint-picker`, as the program uses it. */
export interface PickerConfig {
  /** In lower case; its value is the tenant's name. */
  readonly fairnessHeader: string;
  /** Of requests whose header names none. */
  readonly tenant?: string;
  /** Models that neither the configuration nor an engine names are refused. Absent: they are routed. */
  readonly refusesUnknownModels?: true;
  /** Tests may choose endpoints. */
  readonly conformance?: true;
}
