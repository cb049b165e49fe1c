import type { Row } from '../row.js';
import { BLOCK_STATUS_ROWS, CONTEXT_ROWS } from './contexts.js';
import { EXTENSION_ROWS } from './extensions.js';
import { HANDSHAKE_ROWS } from './handshake.js';
import { NEGOTIATION_ROWS } from './negotiation.js';
import { OPTION_ERROR_ROWS } from './option-errors.js';
import { STRING_ROWS } from './strings.js';
import { TLS_ROWS } from './tls.js';
import { TRANSMISSION_ROWS } from './transmission.js';

/** The checklist: each row is one thing that the specification, or we, ask of a server. */
export const ROWS: readonly Row[] = [
  ...HANDSHAKE_ROWS,
  ...STRING_ROWS,
  ...OPTION_ERROR_ROWS,
  ...NEGOTIATION_ROWS,
  ...CONTEXT_ROWS,
  ...TLS_ROWS,
  ...TRANSMISSION_ROWS,
  ...BLOCK_STATUS_ROWS,
  ...EXTENSION_ROWS,
];
