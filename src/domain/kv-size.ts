/** How many tokens fit into an engine's KV cache, from the shape of its model. */

/** As in a model's `config.json`. Models that store something else for a token (MLA, state spaces) have no such shape. */
export interface ModelShape {
  /** `num_hidden_layers`. */
  readonly layers: number;
  /** `num_key_value_heads`; without it `num_attention_heads`. */
  readonly kvHeads: number;
  /** `head_dim`; without it `hidden_size` ÷ `num_attention_heads`. */
  readonly headDim: number;
  /** Of one number in the cache: 2 in 16 bits, 1 in 8. */
  readonly bytes: number;
}

/** Bytes that a token takes: a key and a value for each layer, each head and each of its dimensions. */
export const kvBytesPerToken = ({ layers, kvHeads, headDim, bytes }: ModelShape): number =>
  2 * layers * kvHeads * headDim * bytes;

/** Whole tokens that fit into a memory budget. */
export const kvTokensIn = (budgetBytes: number, shape: ModelShape): number =>
  Math.max(0, Math.floor(budgetBytes / kvBytesPerToken(shape)));
