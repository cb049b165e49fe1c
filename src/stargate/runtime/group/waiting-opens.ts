import type { SessionListener, SessionRequest } from '../../../wire/serving.js';
import type { GroupVdisk } from './group-vdisk.js';
import { CONTROLLER_SILENT_MS, LOOK_AGAIN_MS, MAX_WAITING_OPENS, OPEN_WAIT_MS, START_GRACE_MS, STEP_ASIDE_MS } from './limits.js';

interface Waiting {
  readonly request: SessionRequest;
  readonly listener: SessionListener;
  readonly sinceMs: number;
}

/**
 * Sessions that want a vdisk which this member does not control. While its controller is alive they are sent there: a datapath that sees it
 * otherwise is redirected, not obeyed. When it is silent, this member takes over for them (rule 11).
 */
export class WaitingOpens {
  #waiting: Waiting[] = [];
  /** Since when the takeover from this controller is left to another member, because this node is drained; -1: it is not. */
  #asideMs = -1;
  /** When it last read the record to take over. */
  #lookedMs = -Infinity;

  constructor(readonly group: GroupVdisk) {}

  add(request: SessionRequest, listener: SessionListener): void {
    const { nowMs } = this.group.parts;
    if (this.group.replica.departure.isLeaving) return this.#redirect(listener);
    const isSuspected = request.left !== undefined && request.left === this.group.controllerNode;
    const isComing = this.group.replica.takeover.state.kind !== 'idle';
    if (!isComing && this.#isStranger(nowMs)) return this.#redirect(listener);
    if (!isComing && this.isControllerAlive(nowMs) && !isSuspected) return this.#redirect(listener);
    const standIn = isComing ? null : this.#stepAside(nowMs);
    if (standIn !== null) return listener.onRefused('moved', `this node is drained: node "${standIn}" is to take over`, standIn);
    if (this.#waiting.length === MAX_WAITING_OPENS) return listener.onRefused('busy', 'too many sessions wait for a takeover of the vdisk');
    this.#waiting.push({ request, listener, sinceMs: nowMs });
    this.#takeOver(nowMs);
  }

  controllerChanged(): void {
    this.#asideMs = -1;
  }

  onTick(nowMs: number): void {
    if (this.#waiting.length === 0) return;
    const late = this.#waiting.filter(one => nowMs - one.sinceMs >= OPEN_WAIT_MS);
    if (late.length > 0) {
      this.#waiting = this.#waiting.filter(one => !late.includes(one));
      for (const { listener } of late) this.#redirect(listener);
    }
    if (this.#isStranger(nowMs) && this.group.replica.takeover.state.kind === 'idle')
      for (const { listener } of this.#waiting.splice(0)) this.#redirect(listener);
    this.#takeOver(nowMs);
  }

  /** After each event of the group: they are opened as soon as there is a controller. */
  follow(): void {
    const { controller } = this.group;
    if (controller === null || this.#waiting.length === 0) return;
    for (const { request, listener } of this.#waiting.splice(0)) controller.openSession(request, listener);
  }

  refuseAll(): void {
    for (const { listener } of this.#waiting.splice(0)) listener.onRefused('not-served', 'this Stargate stops');
  }

  #takeOver(nowMs: number): void {
    if (this.#waiting.length === 0 || this.isControllerAlive(nowMs) || this.group.replica.takeover.state.kind !== 'idle') return;
    this.#lookedMs = nowMs;
    this.group.step({ kind: 'takeOver', insteadOf: this.group.controllerNode });
  }

  /**
   * It has read the record a moment ago, to take over, and is not in it. To read it for each who asks would be all that it does: while it reads, it hears of nothing else, not of
   * the resync that would make it a member either.
   */
  #isStranger(nowMs: number): boolean {
    return !this.group.isMember && nowMs - this.#lookedMs < LOOK_AGAIN_MS;
  }

  /** Who is to take over instead, for a while: it may be unable to. */
  #stepAside(nowMs: number): string | null {
    const standIn = this.group.parts.standInFor(this.group);
    if (standIn === null) return null;
    if (this.#asideMs < 0) this.#asideMs = nowMs;
    return nowMs - this.#asideMs < STEP_ASIDE_MS ? standIn : null;
  }

  #redirect(listener: SessionListener): void {
    const { controllerNode, parts } = this.group;
    const isHere = controllerNode === parts.node;
    if (isHere) listener.onRefused('not-served', 'the vdisk is being taken over here');
    else listener.onRefused('moved', `node "${controllerNode}" controls the vdisk`, controllerNode);
  }

  /** As far as this member has heard of it. */
  isControllerAlive(nowMs: number): boolean {
    const { group } = this;
    const { parts, controllerNode } = group;
    if (controllerNode === parts.node || parts.isClosed(controllerNode)) return false;
    const { heardMs } = group;
    // Nothing yet: it may be starting, as this node is.
    if (heardMs === 0) return nowMs - parts.startedMs < START_GRACE_MS;
    return nowMs - heardMs < CONTROLLER_SILENT_MS;
  }
}
