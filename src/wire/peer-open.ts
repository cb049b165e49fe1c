import * as z from 'zod';
import { MAX_PEER_VDISKS } from './limits.js';
import { memberId, type MemberId } from './replicate.js';

/**
 * The beginning of a connection between two Stargates: after HELLO with the role "stargate".
 *
 * ```
 * PEER_OPEN    client → server   who speaks, and whom it means to speak to; the connection moves to the server's shard `toShard`
 * PEER_OPENED  server → client   {}; or ERROR, and the server closes
 * PEER_VDISK   client → server   header.session: a number; payload: the 16 bytes of the vdisk's id, which has that number from now on
 * REPLICA      client → server   header.session: the vdisk's number; the rest: replica-frame.ts
 * ```
 * Heartbeats go as in a session. Everything that a shard says goes over the connections that it has opened itself.
 *
 * `shards` and `streams` are what the client knows of the server: where they have changed, it would address the wrong shards.
 */
const name = z
  .string()
  .min(1)
  .max(255)
  .regex(/^[^/]*$/);
const count = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
const shard = z.number().int().min(0).max(65_535);
const identity = z.object({ node: name, storeUuid: z.uuid(), incarnation: count });

export const peerOpen = z.object({
  from: identity,
  fromShard: shard,
  to: identity,
  toShard: shard,
  shards: shard,
  streams: shard,
});
export type PeerOpen = z.infer<typeof peerOpen>;
export type PeerIdentity = z.infer<typeof identity>;

/** What a Stargate knows of itself. */
export interface PeerSelf extends PeerIdentity {
  readonly shards: number;
  readonly streams: number;
}

export const peerOpened = z.object({});

export function memberOf({ node, storeUuid, incarnation }: PeerIdentity): MemberId {
  return memberId(node, storeUuid, incarnation);
}

/** Why the connection is not for this Stargate, or null. */
export function checkPeerOpen(open: PeerOpen, self: PeerSelf): { code: string; message: string } | null {
  const [asked, here] = [memberOf(open.to), memberOf(self)];
  if (asked !== here) {
    return {
      code: 'ERR_PEER_IDENTITY',
      message: `this is ${here}, not ${asked}: the node has another store, or its record names another address`,
    };
  }
  if (open.shards !== self.shards || open.streams !== self.streams || open.toShard >= self.shards) {
    return {
      code: 'ERR_PEER_SHARD',
      message: `shard ${open.toShard} of ${open.shards} with ${open.streams} streams was asked for; this node has ${self.shards} shards and ${self.streams} streams: its record has changed since`,
    };
  }
  return null;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
const DASHES = [8, 13, 18, 23];

/** The 16 bytes of a UUID at `at`. */
export function encodeUuid(view: DataView, at: number, uuid: string): void {
  let byte = at;
  for (let i = 0; i < uuid.length; i += 2) {
    if (DASHES.includes(i)) i++;
    view.setUint8(byte++, Number.parseInt(uuid.slice(i, i + 2), 16));
  }
}

export function decodeUuid(view: DataView, at: number): string {
  let uuid = '';
  for (let i = 0; i < 16; i++) {
    if (DASHES.includes(uuid.length)) uuid += '-';
    uuid += HEX[view.getUint8(at + i)]!;
  }
  return uuid;
}

if (MAX_PEER_VDISKS > 0xffff_ffff) throw new Error('limits: the number of a vdisk is a u32');
