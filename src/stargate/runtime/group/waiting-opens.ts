import type { SessionListener, SessionRequest } from '../../../wire/serving.js';
import type { Controller } from '../../core/controller.js';
import type { GroupVdisk } from './group-vdisk.js';
import { CONTROLLER_SILENT_MS, LOOK_AGAIN_MS, MAX_WAITING_OPENS, OPEN_WAIT_MS, START_GRACE_MS, STEP_ASIDE_MS } from './limits.js';

/** Who wants the controller of the vdisk: a datapath a session of it, its management a change. */
export interface Wanting {
  /** The node that a datapath has just left because it was silent or stuck. */
  readonly left?: string | undefined;
  readonly onRefused: SessionListener['onRefused'];
  readonly onController: (controller: Controller) => void;
}

interface Waiting {
  readonly by: Wanting;
  readonly sinceMs: number;
}

/**
 * Sessions, and others, that want a vdisk which this member does not control. While its controller is alive they are sent there: a datapath that sees it
 * otherwise is redirected, not obeyed. When it is silent, this member takes over for them (rule 11).
 */
export class WaitingOpens {
  #waiting: Waiting[] = [];
  /** Since when the takeover from this controller is left to another member, because this node is drained; -1: it is not. */
  #asideMs = -1;
  /** When it last read the record to take over. */
  #lookedMs = -Infinity;

  constructor(readonly group: GroupVdisk) {}

  addSession(request: SessionRequest, listener: SessionListener): void {
    this.#add({
      left: request.left,
      onRefused: (reason, message, node) => listener.onRefused(reason, message, node),
      onController: controller => controller.openSession(request, listener),
    });
  }

  /** The controller that is here, or will be: perhaps this member takes over. */
  want(by: Wanting): void {
    if (this.group.controller !== null) by.onController(this.group.controller);
    else this.#add(by);
  }

  #add(by: Wanting): void {
    const { nowMs } = this.group.parts;
    if (this.group.replica.departure.isLeaving) return this.#redirect(by);
    const isSuspected = by.left !== undefined && by.left === this.group.controllerNode;
    const isComing = this.group.replica.takeover.state.kind !== 'idle';
    if (!isComing && this.#isStranger(nowMs)) return this.#redirect(by);
    if (!isComing && this.isControllerAlive(nowMs) && !isSuspected) return this.#redirect(by);
    const standIn = isComing ? null : this.#stepAside(nowMs);
    if (standIn !== null) return by.onRefused('moved', `this node is drained: node "${standIn}" is to take over`, standIn);
    if (this.#waiting.length === MAX_WAITING_OPENS) return by.onRefused('busy', 'too many sessions wait for a takeover of the vdisk');
    this.#waiting.push({ by, sinceMs: nowMs });
    this.#takeOver(nowMs);
  }

  controllerChanged(): void {
    this.#asideMs = -1;
  }

  onTick(nowMs: number): void {
    if (this.#waiting.length === 0) return;
    this.#redirectAll((_by, sinceMs) => nowMs - sinceMs >= OPEN_WAIT_MS);
    if (this.#isStranger(nowMs) && this.group.replica.takeover.state.kind === 'idle') this.#redirectAll(() => true);
    this.#takeOver(nowMs);
  }

  /** After each event of the group: they get it as soon as there is a controller; where another member has won the takeover, they hear who. */
  follow(): void {
    if (this.#waiting.length === 0) return;
    const { controller, controllerNode, parts, replica } = this.group;
    if (controller !== null) for (const { by } of this.#waiting.splice(0)) by.onController(controller);
    else if (replica.takeover.state.kind === 'idle' && this.isControllerAlive(parts.nowMs))
      this.#redirectAll(by => by.left !== controllerNode);
  }

  refuseAll(): void {
    for (const { by } of this.#waiting.splice(0)) by.onRefused('not-served', 'this Stargate stops');
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

  #redirectAll(which: (by: Wanting, sinceMs: number) => boolean): void {
    const gone = this.#waiting.filter(({ by, sinceMs }) => which(by, sinceMs));
    if (gone.length === 0) return;
    this.#waiting = this.#waiting.filter(one => !gone.includes(one));
    for (const { by } of gone) this.#redirect(by);
  }

  #redirect(by: Wanting): void {
    const { controllerNode, parts } = this.group;
    const isHere = controllerNode === parts.node;
    if (isHere) by.onRefused('not-served', 'the vdisk is being taken over here');
    else by.onRefused('moved', `node "${controllerNode}" controls the vdisk`, controllerNode);
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
