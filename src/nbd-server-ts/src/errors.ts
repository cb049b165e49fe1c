export type NbdServerErrorCode = 'ERR_EXPORT_INVALID' | 'ERR_SERVER_CLOSED' | 'ERR_REGION_TOO_SMALL' | 'ERR_LIMITS' | 'ERR_TLS_UNAVAILABLE';

/** What the package throws. `code` is stable; the message says what to do. */
export class NbdServerError extends Error {
  override readonly name = 'NbdServerError';
  constructor(
    readonly code: NbdServerErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
