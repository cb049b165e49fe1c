import { ArenaRegion, BufferPool, createArena } from 'uring-engine';
import { transferBufferBytes } from '../../src/stargate/cache/transfer-buffers.js';
import { MAX_CONTROL_BYTES } from '../../src/stargate/core/controller.js';
import { BLOCK_BYTES } from '../../src/stargate/core/ports.js';
import { OPLOG_MEMORY_BYTES, VERIFY_OPLOG_SCRATCH_BYTES } from '../../src/stargate/oplog/index.js';
import { MAX_APPEND_PAYLOAD_BYTES } from '../../src/wire/limits.js';
import { BUFFERS, MAX_CACHE_PAGES, MAX_NODES, MAX_OPERATION_BYTES, MAX_STREAMS, RETAINED_BUFFERS, TRANSFER_BUFFERS } from './limits.js';

/** What other nodes send, with headers and room to spare. */
export const RECEIVE_BYTES = MAX_APPEND_PAYLOAD_BYTES + (64 << 10);
const GROUP_BYTES = transferBufferBytes(RETAINED_BUFFERS) + RECEIVE_BYTES;
const NODE_BYTES =
  MAX_STREAMS * OPLOG_MEMORY_BYTES +
  transferBufferBytes(TRANSFER_BUFFERS) +
  MAX_CACHE_PAGES * BLOCK_BYTES +
  MAX_CONTROL_BYTES +
  GROUP_BYTES +
  (1 << 20);
const NODES_BYTES = MAX_NODES * NODE_BYTES;
const CLIENT_BYTES = BUFFERS * MAX_OPERATION_BYTES;
const VERIFY_BYTES = VERIFY_OPLOG_SCRATCH_BYTES + (1 << 20);

/** One arena for all worlds of this process: they run one after the other, and memory is slow to come. */
const arena = createArena(NODES_BYTES + CLIENT_BYTES + VERIFY_BYTES);

/** Where what lies in the arena. */
export class Memory {
  readonly arena = arena;
  /** Of clients and connections: payloads on their way, answers that are being looked at. */
  readonly buffers = new BufferPool(new ArenaRegion(arena, NODES_BYTES, NODES_BYTES + CLIENT_BYTES), MAX_OPERATION_BYTES, BUFFERS);
  readonly verifyOffset = NODES_BYTES + CLIENT_BYTES;

  /** All that a starting process has; a former one's content in it. */
  nodeRegion(index: number): ArenaRegion {
    return new ArenaRegion(arena, index * NODE_BYTES, (index + 1) * NODE_BYTES);
  }

  takeBuffer(): number {
    const offset = this.buffers.take();
    if (offset < 0) throw new Error('simulation: no client buffer left');
    return offset;
  }
}
