import { IDLE_CONNECTION_MS } from '../../wire/limits.js';

/** From the first packet to the end of the handshake, for either end. */
export const HANDSHAKE_TIMEOUT_MS = 5_000;
/** Connections that are accepted, and have not shown who they are yet. More are closed at once. */
export const MAX_HALF_OPEN = 64;
/** Connections of a process, both directions together. */
export const MAX_TLS_CONNECTIONS = 2_048;
/** How long the rest of a connection may take when one end of it is closed. */
export const LINGER_MS = 1_000;
/** Nothing moves, not even heartbeats: whoever is still there has been given up by the shards long ago. */
export const STALLED_MS = 2 * IDLE_CONNECTION_MS;
/** The same trouble with the same address is told once in this time. */
export const TELL_AGAIN_MS = 30_000;
/** Troubles that are remembered as told. */
export const MAX_TOLD = 256;
