import * as z from 'zod';
import { MAX_CONNECTION_BYTES, MAX_CONNECTION_REQUESTS } from './limits.js';

/**
 * HELLO, first frame of a connection, client → server; HELLO_REPLY back. The server takes the highest version that both speak; where
 * there is none it answers ERROR `ERR_WIRE_VERSION` and closes. Header layout and HELLO stay readable over all versions;
 * unknown keys are ignored, so that a later version may add some.
 */
export const WIRE_VERSION_MIN = 1;
export const WIRE_VERSION_MAX = 1;

const version = z.number().int().min(1).max(65_535);

export const helloMessage = z.object({
  versionMin: version,
  versionMax: version,
  /** What for: sessions, messages between Stargates, the metadata store. A tool's are sessions. */
  role: z.enum(['datapath', 'stargate', 'meta', 'tool']),
  /** Name and version of the software, for logs. */
  software: z.string().max(200),
});
export type HelloMessage = z.infer<typeof helloMessage>;

export const helloReply = z.object({
  version,
  software: z.string().max(200),
  /** What the client may have outstanding on this connection. */
  maxRequests: z.number().int().min(1).max(MAX_CONNECTION_REQUESTS),
  maxBytes: z.number().int().min(1).max(MAX_CONNECTION_BYTES),
});
export type HelloReply = z.infer<typeof helloReply>;

/** ERROR, either way; the sender closes the connection behind it. */
export const errorMessage = z.object({ code: z.string().max(64), message: z.string().max(4_096) });
export type ErrorMessage = z.infer<typeof errorMessage>;

/** The version to speak, or null. */
export function chooseVersion(hello: HelloMessage, min = WIRE_VERSION_MIN, max = WIRE_VERSION_MAX): number | null {
  const chosen = Math.min(hello.versionMax, max);
  return chosen >= hello.versionMin && chosen >= min ? chosen : null;
}

export function versionMismatch(hello: HelloMessage, min = WIRE_VERSION_MIN, max = WIRE_VERSION_MAX): ErrorMessage {
  const theirs = hello.versionMin === hello.versionMax ? `${hello.versionMin}` : `${hello.versionMin} to ${hello.versionMax}`;
  return {
    code: 'ERR_WIRE_VERSION',
    message: `this Stargate speaks protocol versions ${min} to ${max}, the client speaks ${theirs}: upgrade the older of the two`,
  };
}
