import assert from 'node:assert/strict';
import { RECV_ALL, SEND_LAZY, type Gather, type Slot } from 'uring-engine';
import { Staging } from './buffers.js';
import type { ConnectionHost, MovedConnection } from './connection-host.js';
import { nextPhase, type Phase } from './connection-phase.js';
import type { ServerProbes } from './counters.js';
import type { Export } from './export.js';
import { driveHandshake } from './handshake-drive.js';
import { Handshake, type HandshakeOptions, type PausedHandshake } from './handshake/handshake.js';
import type { Negotiated } from './handshake/negotiation.js';
import { Intake, Pump } from './intake.js';
import { LettingGo } from './letting-go.js';
import { LAZY_SEND_BYTES, MAX_OPTION_BYTES, STAGING_BYTES } from './limits.js';
import type { PendingRequest } from './pending-request.js';
import { OPTION_HEADER_BYTES } from './protocol/constants.js';
import { ReplyQueue, type ReplySink } from './reply-queue.js';
import type { IntakeListener } from './requests/open-requests.js';
import { rulesOf } from './transmission/rules.js';
import { Transmission } from './transmission/transmission.js';

export const ConnectionTag = { recv: 0, recvDirect: 1, send: 2, close: 3 } as const;
const TAG_SHIFT = 3;
const NO_BYTES = new Uint8Array(0);

/** One client. Joins the machines, the buffers and the engine; owns the memory of its place in the server's table. */
export class Connection implements IntakeListener, ReplySink {
  phase: Phase = 'gone';
  dirty = false;
  exportName = '';
  handshakeDeadlineNs = 0;
  /** Counts completions: one that stays is an idle connection. */
  activity = 0;
  /** When the sweep saw another `activity` for the last time, and which. */
  activeAtNs = 0;
  activityThen = 0;
  readonly lettingGo: LettingGo;
  // What letting go looks at; nobody else does. The slot it changes, too.
  slot: Slot = -1;
  handshake: Handshake | null = null;
  intake: Intake | null = null;
  negotiated: Negotiated | null = null;
  receiving = false;
  #receivedInTurn = false;
  #sending = false;
  /** Answers wait for the send that is under way since then; and when that began, where its end is waited for. 0: none. */
  #heldSinceNs = 0;
  #sentNs = 0;
  #wantsRecv = false;
  #wantsDirect = false;
  #blocked = false;
  #closeSent = false;
  #broken = '';
  #moveTo: ((moved: MovedConnection) => void) | null = null;
  #target: Export | null = null;
  readonly #staging: Staging;
  readonly #replies: ReplyQueue;
  readonly #tag: number;

  constructor(
    private readonly host: ConnectionHost,
    readonly index: number,
    blockOffset: number,
  ) {
    this.#tag = index << TAG_SHIFT;
    this.#staging = new Staging(host.arena.bytes, blockOffset, host.sharedStaging);
    this.#replies = new ReplyQueue(host.arena, blockOffset + STAGING_BYTES, this);
    this.lettingGo = new LettingGo(this, host, this.#staging);
  }

  // ---- beginnings
  /** `paused`, `leftover`: of a handshake that another server has begun. */
  accepted(
    slot: Slot,
    handshakeDeadlineNs: number,
    options: HandshakeOptions,
    paused?: PausedHandshake,
    leftover: Uint8Array = NO_BYTES,
  ): void {
    const { exports } = this.host;
    this.#begin(slot, 'handshake', leftover);
    this.handshakeDeadlineNs = handshakeDeadlineNs;
    this.handshake = paused === undefined ? new Handshake(exports, options) : Handshake.resume(exports, options, paused);
    this.#runHandshake();
    this.host.markDirty(this);
  }

  adopted(slot: Slot, target: Export, negotiated: Negotiated, leftover: Uint8Array): void {
    this.#begin(slot, 'transmission', leftover);
    this.#startTransmission(target, negotiated);
  }

  #begin(slot: Slot, phase: Phase, leftover: Uint8Array): void {
    assert(leftover.length <= STAGING_BYTES);
    this.#enter(phase);
    this.host.arena.bytes.set(leftover, this.#staging.end);
    this.#staging.end += leftover.length;
    this.slot = slot;
    this.handshake = null;
    this.intake = null;
    this.receiving = this.#receivedInTurn = this.#sending = this.#wantsRecv = this.#wantsDirect = this.#blocked = this.#closeSent = false;
    this.lettingGo.reset();
    this.#heldSinceNs = this.#sentNs = 0;
    this.#broken = '';
    this.#moveTo = null;
    this.negotiated = null;
    this.#target = null;
    this.exportName = '';
    this.#replies.structured = this.#replies.extended = false;
    this.activeAtNs = this.host.engine.nowNs;
  }

  #enter(phase: Phase): void {
    this.phase = nextPhase(this.phase, phase);
  }

  // ---- completions
  onCompletion(kind: number, result: number): void {
    this.activity++;
    if (kind === ConnectionTag.send) this.#onSent(result);
    else if (kind === ConnectionTag.close) this.#closeSent = true;
    else this.#onReceived(kind, result);
    if (this.phase === 'closing') this.#checkGone();
    else this.host.markDirty(this);
  }

  #onSent(result: number): void {
    this.#sending = false;
    if (this.#sentNs > 0) this.host.probes?.onSent(this.host.engine.nowNs - this.#sentNs);
    this.#sentNs = 0;
    this.#replies.sendFinished();
    if (result < 0) this.abort(`send failed (errno ${-result})`);
    else this.#unblock();
  }

  #onReceived(kind: number, result: number): void {
    const wasInterrupted = this.lettingGo.receiveEnded(result);
    this.receiving = false;
    if (wasInterrupted && this.phase !== 'closing') {
      // Nothing has come. Whether it leaves still, or stays after all, is seen to at the end of the turn.
      this.#wantsRecv = true;
      return;
    }
    this.#receivedInTurn = true;
    if (kind === ConnectionTag.recvDirect) this.intake!.largeWrite.directFinished(Math.max(result, 0));
    else if (result > 0) this.#staging.end += result;
    if (this.phase === 'closing') return;
    if (this.phase === 'upgrading' && result <= 0) this.abort('the client went before the TLS handshake');
    else if (result < 0) this.abort(`recv failed (errno ${-result})`);
    else if (this.phase === 'handshake') {
      if (result === 0) this.abort('the client went during the handshake');
      else this.#runHandshake();
    } else if (this.phase === 'transmission') {
      if (result === 0) this.finish();
      else this.#pump();
    }
  }

  // ---- handshake
  #runHandshake(): void {
    const handshake = this.handshake!;
    if (this.host.closing) handshake.shutDown();
    const stop = driveHandshake(handshake, this.host.arena.bytes, this.#staging, this.#replies);
    if (stop === 'more') this.#wantsRecv = true;
    else if (stop === 'blocked') this.#blocked = true;
    else if (stop.kind === 'transmission') this.#handshakeDone(stop.target, stop.negotiated);
    else if (stop.kind === 'upgrading') this.#enter('upgrading');
    else {
      this.host.counters.failedHandshakes++;
      this.handshake = null;
      this.host.logEnd(this, stop.reason);
      this.#enter('finishing');
    }
  }

  #handshakeDone(target: Export, negotiated: Negotiated): void {
    this.handshake = null;
    this.exportName = target.name;
    // Who leaves has its place chosen anew where it comes to.
    this.#moveTo = this.lettingGo.leaving ? null : this.host.chooseOwner(target.name);
    this.#target = target;
    this.negotiated = negotiated;
    if (this.#moveTo !== null) {
      this.#enter('moving');
      return;
    }
    this.#enter('transmission');
    this.#startTransmission(target, negotiated);
  }

  #move(): void {
    if (this.lettingGo.move(this.#moveTo!)) return;
    this.#enter('transmission');
    this.#startTransmission(this.#target!, this.negotiated!);
  }

  /** The answer to STARTTLS is sent. */
  #upgrade(): void {
    if (!this.lettingGo.toTls()) return;
    this.host.counters.securedConnections++;
    this.handshake!.secured();
    this.#enter('handshake');
    this.#runHandshake();
    this.host.markDirty(this);
  }

  // ---- transmission
  #startTransmission(target: Export, negotiated: Negotiated): void {
    this.exportName = target.name;
    this.#replies.structured = negotiated.structuredReplies;
    this.#replies.extended = negotiated.extendedHeaders;
    this.#target = target;
    this.negotiated = negotiated;
    const machine = new Transmission(rulesOf(target, negotiated));
    this.intake = new Intake(machine, target.open(), this.#staging, this.#replies, this.host, this);
    this.intake.pausing = this.lettingGo.leaving;
    this.#pump();
    this.host.markDirty(this);
  }

  #pump(): void {
    const intake = this.intake!;
    this.#blocked = false;
    this.#wantsRecv = this.#wantsDirect = false;
    if (this.host.closing) intake.machine.shutDown();
    const stop = intake.pump();
    if (stop === Pump.paused) this.#blocked = true;
    else if (this.phase === 'finishing' || stop === Pump.blocked) this.#blocked = stop === Pump.blocked;
    else if (stop === Pump.more) this.#wantsRecv = true;
    else if (stop === Pump.direct) this.#wantsDirect = true;
    else if (stop === Pump.ended) this.#enter('finishing');
    else this.#violate(intake.machine.violation);
  }

  #violate(reason: string): void {
    this.host.counters.violations++;
    this.abort(reason);
  }

  #unblock(): void {
    if (this.#blocked) this.host.markDirty(this);
  }

  // ---- IntakeListener, ReplySink (of the handshake there are no requests)
  onProgress(): void {
    this.host.markDirty(this);
  }

  onBroken(reason: string): void {
    this.#broken = reason;
    this.host.markDirty(this);
  }

  onReplied(request: PendingRequest): void {
    this.intake!.requests.onReplied(request);
  }

  resize(sizeBytes: number, done: (errno: number) => void): void {
    const { name } = this.#target!;
    this.#target!.resize!(sizeBytes, errno => {
      if (errno === 0) this.host.onResized(name);
      done(errno);
    });
  }

  /** Further requests are measured by the export's size as it is now. */
  refreshSize(): void {
    if (this.intake !== null && this.#target !== null) this.intake.machine.rules.sizeBytes = this.#target.sizeBytes;
  }

  // ---- turns
  /** Before others close their batches: go on with what was held up. */
  resume(): void {
    if (this.#broken !== '' && this.phase !== 'closing' && this.phase !== 'gone') this.abort(this.#broken);
    if (this.#replies.deferring) this.#replies.flushDeferred();
    if (!this.#blocked) return;
    if (this.phase === 'handshake') {
      if (!this.#sending) {
        this.#blocked = false;
        this.#runHandshake();
      }
    } else if (this.phase === 'transmission' || this.phase === 'finishing') this.#pump();
  }

  /** At the end of the turn: what goes out goes out in one send; then the next recv. */
  endTurn(probes: ServerProbes | null): void {
    if (this.phase === 'closing' || this.phase === 'gone') return;
    if (this.#replies.deferring) this.#replies.flushDeferred();
    const { gather } = this.#replies;
    if (!this.#sending && gather.count > 0) {
      const { engine, clientId } = this.host;
      const isLazy = this.#mayWaitForSend(gather);
      if (probes !== null) this.#probeSend(probes, gather.totalBytes, isLazy);
      this.#sending = true;
      engine.send(this.slot, gather, isLazy ? SEND_LAZY : 0, clientId, this.#tag | ConnectionTag.send);
      this.#replies.sendStarted();
      if (this.#replies.deferring) this.#replies.flushDeferred();
    } else if (gather.count > 0 && this.#heldSinceNs === 0) this.#heldSinceNs = this.host.engine.nowNs;
    this.#receivedInTurn = false;
    if (this.lettingGo.leaving && this.lettingGo.goOn()) return;
    if (this.#wantsRecv || this.#wantsDirect) this.#recv();
    else if (this.allSent) this.#idle();
  }

  #probeSend(probes: ServerProbes, bytes: number, isLazy: boolean): void {
    const { nowNs } = this.host.engine;
    probes.onReplied(this.#replies.answers, bytes, this.#heldSinceNs === 0 ? 0 : nowNs - this.#heldSinceNs);
    this.#heldSinceNs = 0;
    this.#sentNs = isLazy ? 0 : nowNs;
  }

  /**
   * Whether nobody waits for the end of this send: its completion then comes with the next request, which saves a call to the kernel for each. Answers
   * that took more than the turn of their requests hold buffers that others may want.
   */
  #mayWaitForSend(gather: Gather): boolean {
    return (
      this.phase === 'transmission' &&
      this.#receivedInTurn &&
      !this.lettingGo.leaving &&
      !this.#blocked &&
      !this.#replies.deferring &&
      !this.host.readBudget.isWaitedFor &&
      gather.totalBytes <= LAZY_SEND_BYTES
    );
  }

  #recv(): void {
    if (this.receiving) return;
    const { engine, clientId } = this.host;
    if (this.#wantsDirect) {
      const { largeWrite } = this.intake!;
      this.#wantsDirect = false;
      largeWrite.directStarted();
      engine.recv(this.slot, largeWrite.directOffset, largeWrite.directBytes, RECV_ALL, clientId, this.#tag | ConnectionTag.recvDirect);
    } else {
      const needed = this.intake === null ? OPTION_HEADER_BYTES + MAX_OPTION_BYTES : this.intake.neededBytes;
      // Without room nothing is read until payloads are taken: the next progress comes here again.
      if (!this.#staging.prepare(needed)) return;
      this.#wantsRecv = false;
      engine.recv(this.slot, this.#staging.end, this.#staging.roomBytes, 0, clientId, this.#tag | ConnectionTag.recv);
    }
    this.receiving = true;
  }

  /** Nothing to send: the end of what has an end. */
  #idle(): void {
    if (this.phase === 'moving') this.#move();
    else if (this.phase === 'upgrading' && !this.receiving) this.#upgrade();
    else if (this.phase === 'finishing' && (this.intake === null || this.intake.requests.count === 0)) this.#close();
  }

  // ---- what letting go asks for
  /** Whether there is something to go on with, or to leave at. */
  lookAgain(): void {
    if (this.phase === 'transmission') this.#blocked = true;
    this.host.markDirty(this);
  }

  receiveMore(): void {
    this.#wantsRecv = true;
    this.#recv();
  }

  /** The socket is another's, and the place free. */
  released(): void {
    this.#enter('gone');
    this.handshake = null;
    this.intake = null;
  }

  // ---- ends
  /** Nothing is on its way to the client, or waits for its turn. */
  get allSent(): boolean {
    return !this.#sending && this.#replies.empty;
  }

  /** Whether a server that closes may close this one: nothing under way. */
  get quiet(): boolean {
    return this.allSent && (this.intake === null || this.intake.requests.count === 0);
  }

  /** All that is left to do is the export's: there is nothing for the client to take, and no payload for it to bring. */
  get waitsForExport(): boolean {
    const intake = this.intake;
    if (intake === null || intake.requests.count === 0 || !this.allSent) return false;
    return intake.largeWrite.request === null || !this.receiving;
  }

  /** No more input; what is outstanding is finished and answered, then the connection is closed. */
  finish(): void {
    if (this.phase !== 'transmission') return;
    this.#enter('finishing');
    this.#wantsRecv = this.#wantsDirect = false;
    this.intake!.endInput();
    this.host.markDirty(this);
  }

  /** Ends the connection now; unsent answers are given up. */
  abort(reason: string): void {
    if (this.phase === 'closing' || this.phase === 'gone') return;
    if (this.handshake !== null) this.host.counters.failedHandshakes++;
    this.host.logEnd(this, reason);
    this.#close();
  }

  #close(): void {
    this.#enter('closing');
    this.handshake = null;
    if (this.intake === null) this.#replies.abandon();
    else {
      this.host.readBudget.forget(this);
      this.intake.abandon();
    }
    this.host.engine.close(this.slot, this.host.clientId, this.#tag | ConnectionTag.close);
  }

  #checkGone(): void {
    if (!this.#closeSent || this.#sending || this.receiving) return;
    const intake = this.intake;
    if (intake !== null && intake.requests.count > 0) return;
    this.#enter('gone');
    this.intake = null;
    this.#staging.destroy();
    intake?.requests.session.close();
    this.host.onGone(this);
  }

  /** A request of a closed connection has come back. */
  afterClose(): void {
    if (this.phase === 'closing') this.#checkGone();
  }
}
