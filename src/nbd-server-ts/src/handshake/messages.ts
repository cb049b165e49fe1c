import { ByteWriter } from '../protocol/bytes.js';
import {
  HandshakeFlag,
  NBD_MAGIC_HIGH,
  NBD_MAGIC_LOW,
  OPTION_MAGIC_HIGH,
  OPTION_MAGIC_LOW,
  OPTION_REPLY_MAGIC_HIGH,
  OPTION_REPLY_MAGIC_LOW,
} from '../protocol/constants.js';

// proto.md, "Fixed newstyle negotiation".
//   greeting:       u64 "NBDMAGIC" · u64 "IHAVEOPT" · u16 handshake flags
//   client flags:   u32
//   option:         u64 "IHAVEOPT" · u32 option · u32 length · data
//   option reply:   u64 0x3e889045565a9 · u32 option · u32 type · u32 length · data

export const SERVER_HANDSHAKE_FLAGS = HandshakeFlag.fixedNewstyle | HandshakeFlag.noZeroes;

export function encodeGreeting(): Uint8Array {
  return new ByteWriter(18).u32(NBD_MAGIC_HIGH).u32(NBD_MAGIC_LOW).u32(OPTION_MAGIC_HIGH).u32(OPTION_MAGIC_LOW).u16(SERVER_HANDSHAKE_FLAGS)
    .bytes;
}

export function encodeOptionReply(option: number, type: number, data: Uint8Array): Uint8Array {
  return new ByteWriter(20 + data.length)
    .u32(OPTION_REPLY_MAGIC_HIGH)
    .u32(OPTION_REPLY_MAGIC_LOW)
    .u32(option)
    .u32(type)
    .u32(data.length)
    .raw(data).bytes;
}
