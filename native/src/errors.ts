/** A misuse or a refused set-up call. `code` is stable: an errno's name (ENOENT …) or one of the ERR_ names below. */
export class EngineError extends Error {
  override readonly name = 'EngineError';
  constructor(
    readonly code: EngineErrorCode | (string & {}),
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export type EngineErrorCode =
  /** A range outside the arena, or of a bad length. */
  | 'ERR_ARENA_BOUNDS'
  /** A slot that is not open, is closing, or is of another kind than the call wants. */
  | 'ERR_SLOT'
  /** A tag, client, flag or gather list outside its limits. */
  | 'ERR_ARGUMENT'
  /** Too many operations, slots, clients or timers. */
  | 'ERR_LIMIT'
  | 'ERR_ADDRESS_IN_USE'
  | 'ERR_PATH_TOO_LONG'
  /** This engine cannot do that here. */
  | 'ERR_UNSUPPORTED'
  | 'ERR_ARENA_EXHAUSTED';
