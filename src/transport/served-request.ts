import { Gather } from 'uring-engine';
import { IoOp, MAX_IO_BYTES, MAX_MAP_EXTENTS, type PathRequest, type PathRequestOwner } from '../wire/path.js';
import { IoStatus } from '../wire/status.js';

/** A READ of the largest length from 4 KiB pages, aligned or not. */
const MAX_DATA_RANGES = MAX_IO_BYTES / 4_096 + 2;
const NO_EXTENTS = new Float64Array(0);

/** A request of another shard or process on its way through this shard's controller. Pooled. */
export class ServedRequest implements PathRequest {
  op: IoOp = IoOp.flush;
  offsetBytes = 0;
  lengthBytes = 0;
  clientSeq = 0;
  lowWater = 0;
  fua = false;
  readonly payload: Gather;
  readonly data = new Gather(MAX_DATA_RANGES);
  status: IoStatus = IoStatus.ok;
  term = 0;
  extents: Float64Array = NO_EXTENTS;
  extentCount = 0;
  pathTag = 0;
  submittedNs = 0;
  owner: PathRequestOwner = NOBODY;

  // ---- the server's own
  /** The requester's name for it. */
  tag = 0;
  /** Transport memory with the payload, or -1. */
  memoryOffset = -1;
  arrivedNs = 0;
  /** Answered, and waiting to be sent or being sent. */
  answered = false;
  /** In the list of its connection, in order of arrival; in the pool. */
  next: ServedRequest | null = null;
  previous: ServedRequest | null = null;
  /** In the list of answers. */
  nextAnswer: ServedRequest | null = null;

  constructor(payloadRanges: number) {
    this.payload = new Gather(payloadRanges);
  }

  /** MAP gets its table of extents here. */
  prepare(op: IoOp, owner: PathRequestOwner): void {
    this.op = op;
    this.owner = owner;
    this.payload.clear();
    this.data.clear();
    this.extentCount = 0;
    this.answered = false;
    if (op === IoOp.map && this.extents === NO_EXTENTS) this.extents = new Float64Array(2 * MAX_MAP_EXTENTS);
  }
}

const NOBODY: PathRequestOwner = {
  onReply() {
    throw new Error('a request in the pool was answered: its path did not let go of it');
  },
};

/** Requests of one shard's servers; grows to what is outstanding at most, which the connections bound. */
export class ServedRequestPool {
  #free: ServedRequest | null = null;

  constructor(private readonly payloadRanges: number) {}

  take(): ServedRequest {
    const request = this.#free;
    if (request === null) return new ServedRequest(this.payloadRanges);
    this.#free = request.next;
    request.next = null;
    return request;
  }

  give(request: ServedRequest): void {
    request.owner = NOBODY;
    request.previous = null;
    request.nextAnswer = null;
    request.next = this.#free;
    this.#free = request;
  }
}
