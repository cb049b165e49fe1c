import { ArenaRegion, BufferPool, createArena } from 'uring-engine';
import { transferBufferBytes } from '../../src/stargate/cache/transfer-buffers.js';
import { MAX_CONTROL_BYTES } from '../../src/stargate/core/controller.js';
import { BLOCK_BYTES } from '../../src/stargate/core/ports.js';
import { OPLOG_MEMORY_BYTES, VERIFY_OPLOG_SCRATCH_BYTES } from '../../src/stargate/oplog/index.js';
import { BUFFERS, MAX_CACHE_PAGES, MAX_OPERATION_BYTES, MAX_STREAMS, TRANSFER_BUFFERS } from './limits.js';

const NODE_BYTES =
  MAX_STREAMS * OPLOG_MEMORY_BYTES + transferBufferBytes(TRANSFER_BUFFERS) + MAX_CACHE_PAGES * BLOCK_BYTES + MAX_CONTROL_BYTES + (1 << 20);
const CLIENT_BYTES = BUFFERS * MAX_OPERATION_BYTES;
const VERIFY_BYTES = VERIFY_OPLOG_SCRATCH_BYTES + (1 << 20);

/** One arena for all worlds of this process: they run one after the other, and memory is slow to come. */
const arena = createArena(NODE_BYTES + CLIENT_BYTES + VERIFY_BYTES);

/** Where what lies in the arena. */
export class Memory {
  readonly arena = arena;
  /** Of clients and connections: payloads on their way, answers that are being looked at. */
  readonly buffers = new BufferPool(new ArenaRegion(arena, NODE_BYTES, NODE_BYTES + CLIENT_BYTES), MAX_OPERATION_BYTES, BUFFERS);
  readonly verifyOffset = NODE_BYTES + CLIENT_BYTES;

  /** All that a starting process has; a former one's content in it. */
  nodeRegion(): ArenaRegion {
    return new ArenaRegion(arena, 0, NODE_BYTES);
  }

  takeBuffer(): number {
    const offset = this.buffers.take();
    if (offset < 0) throw new Error('simulation: no client buffer left');
    return offset;
  }
}
