import { Packr } from 'msgpackr';
import type * as z from 'zod';

const packr = new Packr({ useRecords: false });

export interface MessageCodec<T> {
  readonly encode: (message: T) => Uint8Array;
  /** Null: it is none. It comes from another node. */
  readonly decode: (bytes: Uint8Array) => T | null;
}

/** Of messages whose form only the two replicas that exchange them need to know: frames carry them as they are. */
export function messageCodec<T>(schema: z.ZodType<T>): MessageCodec<T> {
  return {
    encode: message => packr.pack(message),
    decode: bytes => {
      try {
        return schema.parse(packr.unpack(bytes));
      } catch {
        return null;
      }
    },
  };
}
