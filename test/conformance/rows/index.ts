import type { Row } from '../row.js';
import { EXTENSION_ROWS } from './extensions.js';
import { HANDSHAKE_ROWS } from './handshake.js';
import { NEGOTIATION_ROWS } from './negotiation.js';
import { TLS_ROWS } from './tls.js';
import { TRANSMISSION_ROWS } from './transmission.js';

/** The checklist: each row is one thing that the specification, or we, ask of a server. */
export const ROWS: readonly Row[] = [...HANDSHAKE_ROWS, ...NEGOTIATION_ROWS, ...TLS_ROWS, ...TRANSMISSION_ROWS, ...EXTENSION_ROWS];
