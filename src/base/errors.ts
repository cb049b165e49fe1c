/** What kind of failure it is, for whoever decides what happens next. */
export type ErrorKind = 'retryable' | 'fenced' | 'corrupt' | 'noSpace' | 'invalid' | 'fatal';

/** A failure that a person or a program is told: a stable code, what was wrong, what to do. Never told apart by its text. */
export class GatepathError extends Error {
  override readonly name = 'GatepathError';
  constructor(
    readonly kind: ErrorKind,
    readonly code: string,
    message: string,
    /** What to do about it, in a few words. */
    readonly action: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
