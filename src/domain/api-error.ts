/** An error that a client is told about; openai/error-body.ts gives it the shape of the client's API. */
export interface ApiError {
  /** HTTP status. */
  readonly status: number;
  /** What was wrong, where, and what to do. Never contains a prompt or a key. */
  readonly message: string;
  /** OpenAI's `error.type`, e.g. `invalid_request_error`, `rate_limit_error`, `server_error`. */
  readonly type: string;
  /** OpenAI's `error.code`: a stable word, e.g. `model_not_found`. Also the refusal's metric label. */
  readonly code: string;
  /** The offending field, where there is one. */
  readonly param?: string;
  /** When it is worth another try. */
  readonly retryAfterMs?: number;
}
