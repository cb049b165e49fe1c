import { ExportOp } from '../export.js';
import { MAX_EFFECT_BYTES, MAX_EFFECT_PIECES, MAX_PIECE_BYTES } from '../limits.js';
import type { PendingRequest } from '../pending-request.js';
import type { OpenRequests } from './open-requests.js';
import { pieceBytes } from './piece-bytes.js';

/**
 * Submits in pieces what has no payload and is too much for one request at the export: a READ, as the budgets let it; a TRIM,
 * WRITE_ZEROES or CACHE, a few pieces at a time; a BLOCK_STATUS of several contexts, one piece for each.
 */
export class Cutter {
  /** What is not wholly submitted: one request at most, nothing behind it is looked at. */
  waiting: PendingRequest | null = null;

  constructor(private readonly requests: OpenRequests) {}

  /** A READ that is too long, or that the budgets hold up. `sequential`: its pieces are answered in order. */
  beginRead(request: PendingRequest, sequential: boolean): void {
    request.unsubmittedBytes = request.lengthBytes;
    request.sequential = sequential;
    request.nextOffsetBytes = request.offsetBytes;
    this.waiting = request;
  }

  beginEffect(request: PendingRequest): void {
    request.unsubmittedBytes = request.lengthBytes;
    this.waiting = request;
  }

  /** Goes on with what waits, as far as it goes. False: blocked. */
  goOn(parent: PendingRequest): boolean {
    if (parent.op !== ExportOp.read) return this.#submitEffects(parent);
    return parent.lengthBytes <= MAX_PIECE_BYTES ? this.#submitWholeRead(parent) : this.#submitReads(parent);
  }

  /** One request for each context of the mask. */
  submitStatus(request: PendingRequest, contextMask: number): void {
    const { requests } = this;
    // More is not wanted at once: the answer may be shorter than what was asked for.
    request.lengthBytes = Math.min(request.lengthBytes, MAX_EFFECT_BYTES);
    const last = 31 - Math.clz32(contextMask);
    if (contextMask === 1 << last) {
      request.context = last;
      requests.submit(request);
      return;
    }
    request.unsubmittedBytes = 1;
    for (let context = 0; context <= last; context++) {
      if ((contextMask & (1 << context)) === 0) continue;
      const piece = requests.takePiece(request, request.offsetBytes, request.lengthBytes);
      piece.requestOne = request.requestOne;
      piece.context = context;
      if (context === last) request.unsubmittedBytes = 0;
      requests.submit(piece);
    }
  }

  /** The connection is gone. */
  abandon(): void {
    const { waiting } = this;
    if (waiting === null) return;
    this.waiting = null;
    this.requests.endPieces(waiting);
  }

  #submitWholeRead(request: PendingRequest): boolean {
    if (!this.requests.mayRead(request.lengthBytes)) return this.#waitForBudget();
    request.unsubmittedBytes = 0;
    this.waiting = null;
    this.requests.submitRead(request);
    return true;
  }

  #submitReads(parent: PendingRequest): boolean {
    const { requests } = this;
    while (parent.unsubmittedBytes > 0) {
      if (parent.errno !== 0) {
        requests.endPieces(parent);
        break;
      }
      const bytes = pieceBytes(restOffset(parent), parent.unsubmittedBytes, MAX_PIECE_BYTES);
      // With no piece of it in flight it may always go on: others may be waiting behind its header.
      if (parent.openPieces > 0 && !requests.mayRead(bytes)) return this.#waitForBudget();
      const piece = requests.takePiece(parent, restOffset(parent), bytes);
      parent.unsubmittedBytes -= bytes;
      requests.submitRead(piece);
    }
    this.waiting = null;
    return true;
  }

  #waitForBudget(): boolean {
    this.requests.waitForReadBudget();
    return false;
  }

  #submitEffects(parent: PendingRequest): boolean {
    const { requests } = this;
    while (parent.unsubmittedBytes > 0 && parent.errno === 0) {
      if (parent.openPieces >= MAX_EFFECT_PIECES) return false;
      const piece = requests.takePiece(parent, restOffset(parent), Math.min(parent.unsubmittedBytes, MAX_EFFECT_BYTES));
      piece.noHole = parent.noHole;
      piece.fastZero = parent.fastZero;
      parent.unsubmittedBytes -= piece.lengthBytes;
      // The export may finish it in this call: it is not the last then, or the answer goes out here.
      if (parent.unsubmittedBytes === 0) this.waiting = null;
      requests.submit(piece);
    }
    if (this.waiting === null) return true;
    this.waiting = null;
    requests.endPieces(parent);
    return true;
  }
}

/** Where in the export what is not yet submitted begins. */
function restOffset(parent: PendingRequest): number {
  return parent.offsetBytes + parent.lengthBytes - parent.unsubmittedBytes;
}
