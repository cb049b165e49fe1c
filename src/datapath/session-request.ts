import type { Gather } from 'uring-engine';
import { IoOp, MAX_MAP_EXTENTS, type PathRequest, type PathRequestOwner, type StargatePath } from '../wire/path.js';
import { IoStatus } from '../wire/status.js';

/** Whoever uses a session: NBD today, other front ends later. */
export interface SessionFrontEnd {
  /**
   * The answer: `request.status`, and for READ `data`, for MAP `extents`. Never 'fenced': that is replayed. After a READ with status ok the front end
   * calls `session.release(request)` once, when it is done with the data; any other request is recycled when this call returns.
   */
  onAnswer(request: SessionRequest): void;
}

const NO_EXTENTS = new Float64Array(0);

/**
 * One I/O from a front end through a session. Taken from `session.acquire`, filled by `set…`, given to `session.submit`.
 * Payload and data lists are the front end's own: they are passed on, not copied.
 */
export class SessionRequest implements PathRequest {
  op: IoOp = IoOp.flush;
  offsetBytes = 0;
  lengthBytes = 0;
  clientSeq = 0;
  lowWater = 0;
  fua = false;
  payload: Gather;
  data: Gather;
  status: IoStatus = IoStatus.ok;
  term = 0;
  extents: Float64Array = NO_EXTENTS;
  extentCount = 0;
  pathTag = 0;
  submittedNs = 0;
  /** Answered 'closed' because it had waited for too long. */
  timedOut = false;

  /** The front end's own: whom and what the answer is for. */
  frontEnd: SessionFrontEnd | null = null;
  context: unknown = null;

  // ---- the session's own
  /** The path it is at, or that holds its data. */
  path: StargatePath | null = null;
  next: SessionRequest | null = null;
  arrivedNs = 0;
  /** Term of a controller that has died while it had this (rule 19); 0: of none. */
  suspectedTerm = 0;
  sentNs = 0;

  constructor(
    readonly owner: PathRequestOwner,
    /** Stays the same over all uses: for tables of the front end. */
    readonly index: number,
    private readonly nothing: Gather,
  ) {
    this.payload = nothing;
    this.data = nothing;
  }

  /** Everything but `payload`, `data` and `fua`. MAP gets its table of extents here. */
  set(op: IoOp, offsetBytes: number, lengthBytes: number, frontEnd: SessionFrontEnd, context: unknown): void {
    this.op = op;
    this.offsetBytes = offsetBytes;
    this.lengthBytes = lengthBytes;
    this.frontEnd = frontEnd;
    this.context = context;
    if (op === IoOp.map && this.extents === NO_EXTENTS) this.extents = new Float64Array(2 * MAX_MAP_EXTENTS);
  }

  /** Lets go of everything that belongs to others. */
  reset(): void {
    this.payload = this.nothing;
    this.data = this.nothing;
    this.frontEnd = null;
    this.context = null;
    this.path = null;
    this.extentCount = 0;
    this.fua = false;
    this.timedOut = false;
    this.suspectedTerm = 0;
  }
}
