import type { ShardContext } from '../../shard/context.js';
import { MAIN } from '../../shard/context.js';
import type { ConnectionTable } from '../connection-table.js';
import type { Dialer, TcpTarget } from '../dial.js';
import { Topic } from '../mailbox-messages.js';
import type { DialReply, DialRequest } from './messages.js';

/** A shard's connections over TLS: the thread that does it is asked, and gives a socket with the plaintext. */
export function shardDialer(context: ShardContext, table: ConnectionTable): Dialer {
  const tags = new Map<number, number>();
  let last = 0;
  context.onMessage(Topic.dialed, message => {
    const { request, result } = message as DialReply;
    const tag = tags.get(request)!;
    tags.delete(request);
    table.onCompletion(tag, result < 0 ? result : context.engine.adopt(result, 'socket'));
  });
  return ({ host, port, node }: TcpTarget, tag) => {
    const target: TcpTarget = node === undefined ? { host, port } : { host, port, node };
    tags.set(++last, tag);
    context.send(MAIN, Topic.dial, { request: last, target } satisfies DialRequest);
  };
}
