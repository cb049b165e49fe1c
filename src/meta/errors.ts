/** The metadata store did not answer: of a read nothing is known, of a transaction not even whether it was applied (rule 7: read back before acting). */
export class MetaUnavailable extends Error {
  readonly code = 'ERR_META_UNAVAILABLE';
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'MetaUnavailable';
  }
}
