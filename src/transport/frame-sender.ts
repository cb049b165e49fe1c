import { Gather, type ClientId, type Engine, type Slot } from 'uring-engine';
import { encodeHeader, type FrameHeader } from '../wire/frame.js';
import { HEADER_BYTES } from '../wire/limits.js';
import { MAX_CONTROL_FRAMES, SEND_AREA_BYTES } from './limits.js';

/**
 * Gathers frames into one send at a time: headers and small payloads lie in the connection's send area, large payloads stay where they
 * are. Use per turn: `begin`, then `header`, `scratch` and `gather.add` while there is room, then `go`.
 */
export class FrameSender {
  readonly gather = new Gather();
  #used = 0;
  #sending = false;
  readonly #control: Uint8Array[] = [];

  constructor(
    private readonly engine: Engine,
    private readonly slot: Slot,
    private readonly client: ClientId,
    private readonly tag: number,
    /** SEND_AREA_BYTES of the connection's own. */
    readonly areaOffset: number,
  ) {}

  get sending(): boolean {
    return this.#sending;
  }

  /** Nothing is being sent or waits to be. */
  get idle(): boolean {
    return !this.#sending && this.#control.length === 0;
  }

  /** A whole frame, sent before any I/O of the same send. False: too many wait already. */
  addControl(frame: Uint8Array): boolean {
    if (this.#control.length === MAX_CONTROL_FRAMES) return false;
    this.#control.push(frame);
    return true;
  }

  /** Starts to fill the next send; false while one is outstanding. */
  begin(): boolean {
    if (this.#sending) return false;
    this.gather.clear();
    this.#used = 0;
    while (this.#control.length > 0 && this.hasRoom(1, this.#control[0]!.length)) {
      const frame = this.#control.shift()!;
      this.engine.arena.bytes.set(frame, this.scratch(frame.length));
    }
    return true;
  }

  /** Room for a frame with `pieces` ranges (its header included) and `areaBytes` in the send area (its header included). */
  hasRoom(pieces: number, areaBytes: number): boolean {
    return this.#used + areaBytes <= SEND_AREA_BYTES && this.gather.hasRoom(pieces);
  }

  header(header: FrameHeader): void {
    encodeHeader(this.engine.arena.view, this.scratch(HEADER_BYTES), header);
  }

  /** Arena offset of `bytes` bytes that are sent next. */
  scratch(bytes: number): number {
    const at = this.areaOffset + this.#used;
    this.#used += bytes;
    this.gather.add(at, bytes);
    return at;
  }

  /** Sends what was gathered, if anything. */
  go(): void {
    if (this.gather.count === 0) return;
    this.#sending = true;
    this.engine.send(this.slot, this.gather, 0, this.client, this.tag);
  }

  onSent(): void {
    this.#sending = false;
  }
}
