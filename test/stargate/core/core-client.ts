import { Gather } from 'uring-engine';
import { IoOp, MAX_MAP_EXTENTS, type PathRequest, type StargatePath } from '../../../src/wire/path.js';
import { IoStatus } from '../../../src/wire/status.js';
import type { CoreRig } from './core-rig.js';
import { gathered } from './gathered.js';

/** What became of a request: `status` is null until it is answered. */
export interface Answer {
  readonly request: PathRequest;
  status: IoStatus | null;
  answers: number;
  /** Of a read that went well; the memory is given back at once. */
  content: Uint8Array | null;
}

/** A session's client: numbers its requests unless it is told the number. */
export class CoreClient {
  clientSeq = 0;
  lowWater = 1;

  constructor(
    readonly rig: CoreRig,
    readonly path: StargatePath,
  ) {}

  write(offsetBytes: number, content: Uint8Array, clientSeq = ++this.clientSeq): Answer {
    const answer = this.prepare(IoOp.write, offsetBytes, content.length, clientSeq);
    answer.request.payload.add(this.rig.memory(content), content.length);
    this.path.submit(answer.request);
    return answer;
  }

  zero(offsetBytes: number, lengthBytes: number, clientSeq = ++this.clientSeq): Answer {
    return this.#submit(IoOp.zero, offsetBytes, lengthBytes, clientSeq);
  }

  trim(offsetBytes: number, lengthBytes: number, clientSeq = ++this.clientSeq): Answer {
    return this.#submit(IoOp.trim, offsetBytes, lengthBytes, clientSeq);
  }

  read(offsetBytes: number, lengthBytes: number): Answer {
    return this.#submit(IoOp.read, offsetBytes, lengthBytes, ++this.clientSeq);
  }

  request(op: IoOp, offsetBytes: number, lengthBytes: number): Answer {
    return this.#submit(op, offsetBytes, lengthBytes, ++this.clientSeq);
  }

  #submit(op: IoOp, offsetBytes: number, lengthBytes: number, clientSeq: number): Answer {
    const answer = this.prepare(op, offsetBytes, lengthBytes, clientSeq);
    this.path.submit(answer.request);
    return answer;
  }

  prepare(op: IoOp, offsetBytes: number, lengthBytes: number, clientSeq: number): Answer {
    const answer: { -readonly [K in keyof Answer]: Answer[K] } = { status: null, answers: 0, content: null, request: null! };
    answer.request = {
      op,
      offsetBytes,
      lengthBytes,
      clientSeq,
      lowWater: this.lowWater,
      fua: false,
      payload: new Gather(),
      status: IoStatus.ok,
      term: 0,
      data: new Gather(300),
      extents: new Float64Array(2 * MAX_MAP_EXTENTS),
      extentCount: 0,
      pathTag: 0,
      submittedNs: 0,
      owner: {
        onReply: request => {
          answer.status = request.status;
          answer.answers++;
          if (op !== IoOp.read || request.status !== IoStatus.ok) return;
          answer.content = gathered(this.rig.arena, request.data);
          this.path.release(request);
        },
      },
    };
    return answer;
  }
}
