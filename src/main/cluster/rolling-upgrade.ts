import { execFile } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import * as z from 'zod';
import { GatepathError } from '../../base/errors.js';
import type { ControlClient } from '../../control/client.js';
import type { NodeView, SessionView } from '../../control/schemas.js';
import { writeFileDurably } from '../write-file.js';

export interface RollingUpgradeOptions {
  /** Of the running system: where it is written down how far this is. */
  readonly data: string;
  /** A node that answers: another one when the last one is restarted. */
  readonly connect: () => Promise<ControlClient>;
  /** Ends the node's process, and starts it with the new version. */
  readonly restart: (node: string) => Promise<void>;
  /** The new one. */
  readonly version: string;
  /** Also nodes that run it already. */
  readonly isAll: boolean;
  /** Sessions of the datapath here; null: there is none. */
  readonly sessions: () => Promise<readonly SessionView[] | null>;
  readonly say: (line: string) => void;
  readonly progress: (text: string) => void;
}

const STATE = 'rolling-upgrade.json';
const state = z.object({ version: z.string(), done: z.array(z.string()), current: z.string().nullable() });
type State = z.infer<typeof state>;

const POLL_MS = 250;
/** Nothing has changed for so long: somebody has to look. */
const STALL_MS = 120_000;

/** Each node by turns, and no other one meanwhile: others take over from it, it is restarted, has the new version, and all copies are whole again. Stops where that is not so. */
export class RollingUpgrade {
  readonly #state: State;
  /** Longest time without an answer that a session of the datapath has seen. */
  longestPauseMs: number | null = null;

  constructor(private readonly options: RollingUpgradeOptions) {
    const found = readState(options.data);
    this.#state = found?.version === options.version ? found : { version: options.version, done: [], current: null };
  }

  /** Gives how many nodes were restarted. */
  async run(): Promise<number> {
    const { data, version, isAll, say } = this.options;
    const { current, done } = this.#state;
    if (current !== null || done.length > 0)
      say(`going on with an upgrade that was interrupted: done are ${done.join(', ') || 'no nodes'}`);
    await this.#refuseUnfit();
    const nodes = await this.#ask(client => client.listNodes());
    // What was begun comes first: no two nodes are away at once.
    const order = [...nodes].sort((a, b) => Number(b.id === current) - Number(a.id === current));
    let restarted = 0;
    for (const { id, version: runs } of order) {
      if (this.#state.done.includes(id)) continue;
      if (runs === version && !isAll && id !== current) say(`${id} runs ${version} already`);
      else {
        await this.#upgrade(id);
        restarted++;
      }
      this.#keep({ done: [...this.#state.done, id], current: null });
    }
    rmSync(join(data, STATE), { force: true });
    return restarted;
  }

  /** Whoever drains a node by hand, or is one copy short, does not want another one to go. */
  async #refuseUnfit(): Promise<void> {
    const { current } = this.#state;
    const nodes = await this.#ask(client => client.listNodes());
    const silent = nodes.filter(({ alive, id }) => !alive && id !== current);
    if (silent.length > 0) throw stopped(`node ${ids(silent)} does not answer`, 'start it, or remove it by "gatepath node remove", first');
    const drained = nodes.filter(({ drainingSince, id }) => drainingSince !== null && id !== current);
    if (drained.length > 0) throw stopped(`node ${ids(drained)} is drained`, 'see to it: "gatepath node undrain" when it is back');
    if (current === null) await this.#whenWhole('at the beginning');
  }

  async #upgrade(id: string): Promise<void> {
    const { version, say, restart } = this.options;
    this.#keep({ done: this.#state.done, current: id });
    const before = await this.#ask(client => client.setDraining(id, true));
    const lost = await this.#lostPaths();
    // Interrupted behind the restart, it is not restarted again.
    const isDone = before.alive && before.version === version && !this.options.isAll;
    if (!isDone) {
      if (before.alive)
        await this.#until(
          id,
          'others take over',
          one => one.neededBy.length === 0,
          one => `needed by ${one.neededBy.join(', ')}`,
        );
      say(`${id} is drained, and is restarted`);
      await restart(id);
      const hasStarted = (one: NodeView): boolean => one.alive && one.startedAt !== null && one.startedAt !== before.startedAt;
      const after = await this.#until(id, 'it starts', hasStarted, one => (one.alive ? 'its former process answers' : 'it is silent'));
      if (after.version !== version) {
        const why = `${id} runs version ${after.version} after its restart, and not ${version}`;
        throw stopped(why, `install ${version} there, and call this again; it stays drained until then`);
      }
    }
    await this.#whenWhole(`behind ${id}`);
    await this.#ask(client => client.setDraining(id, false));
    await this.#notePauses(lost);
    say(`${id} runs ${version}, and all copies are whole`);
  }

  // ---------------------------------------------------------------- waiting

  #until(id: string, what: string, holds: (one: NodeView) => boolean, inWords: (one: NodeView) => string): Promise<NodeView> {
    const look = async (): Promise<{ found: NodeView; isDone: boolean; text: string }> => {
      const found = await this.#ask(client => client.showNode(id));
      return { found, isDone: holds(found), text: `${id}: ${inWords(found)}` };
    };
    return this.#whileItGoesOn(
      look,
      `${what} of ${id} has come to nothing`,
      `see the log of ${id}; and call this again: it goes on from there`,
    );
  }

  #whenWhole(when: string): Promise<null> {
    const look = async (): Promise<{ found: null; isDone: boolean; text: string }> => {
      const { vdisks, unread } = await this.#ask(client => client.listing());
      // A node that starts does not serve those whose records it cannot read.
      const ill = [...unread, ...vdisks.filter(({ health }) => health !== 'healthy')];
      const first = ill.slice(0, 3).map(({ id, name, problem }) => `vdisk ${name ?? id}: ${problem}`);
      return { found: null, isDone: ill.length === 0, text: `${ill.length} vdisks are not whole: ${first.join('; ')}` };
    };
    return this.#whileItGoesOn(look, `${when}, not all copies are whole`, 'see "gatepath status"; and call this again when they are');
  }

  async #whileItGoesOn<T>(look: () => Promise<{ found: T; isDone: boolean; text: string }>, problem: string, action: string): Promise<T> {
    let [last, changedMs] = ['', performance.now()];
    for (;;) {
      // A node that is asked may be the one that stops, or have stopped.
      const { found, isDone, text } = await look().catch((error: unknown) => {
        if (error instanceof GatepathError && error.kind === 'retryable') return { found: null, isDone: false, text: error.message };
        throw error;
      });
      if (isDone) return found as T;
      this.options.progress(text);
      if (text !== last) [last, changedMs] = [text, performance.now()];
      if (performance.now() - changedMs > STALL_MS) throw stopped(`${problem}: for ${STALL_MS / 1_000} s, ${text}`, action);
      await delay(POLL_MS);
    }
  }

  async #ask<T>(question: (client: ControlClient) => Promise<T>): Promise<T> {
    return question(await this.options.connect());
  }

  // ---------------------------------------------------------------- pauses

  async #lostPaths(): Promise<ReadonlyMap<string, number>> {
    const sessions = (await this.options.sessions()) ?? [];
    return new Map(sessions.map(one => [keyOf(one), one.lost]));
  }

  /** Of sessions that have lost their path since then. */
  async #notePauses(before: ReadonlyMap<string, number>): Promise<void> {
    const sessions = await this.options.sessions();
    if (sessions === null) return;
    const gaps = sessions.filter(one => one.lost > (before.get(keyOf(one)) ?? 0)).map(({ lastGapMs }) => lastGapMs);
    this.longestPauseMs = Math.max(this.longestPauseMs ?? 0, ...gaps);
  }

  #keep(change: Pick<State, 'done' | 'current'>): void {
    Object.assign(this.#state, change);
    writeFileDurably(join(this.options.data, STATE), `${JSON.stringify(this.#state)}\n`);
  }
}

/** `{node}` in the command is the node's name. */
export async function restartByCommand(command: string, node: string): Promise<void> {
  const line = command.replaceAll('{node}', node);
  try {
    await promisify(execFile)('/bin/sh', ['-c', line], { env: { ...process.env, GATEPATH_NODE: node } });
  } catch (error) {
    const { message, stderr = '' } = error as Error & { stderr?: string };
    throw stopped(
      `"${line}" has failed: ${stderr.trim() || message}`,
      `see to it, and call this again; node ${node} stays drained until then`,
    );
  }
}

function readState(data: string): State | null {
  try {
    return state.safeParse(JSON.parse(readFileSync(join(data, STATE), 'utf8'))).data ?? null;
  } catch {
    return null; // none, or not ours: then it begins anew, and finds what is drained
  }
}

const keyOf = ({ vdiskId, shard }: SessionView): string => `${vdiskId} ${shard}`;
const ids = (nodes: readonly NodeView[]): string => nodes.map(({ id }) => id).join(', ');
const stopped = (why: string, action: string): GatepathError =>
  new GatepathError('retryable', 'ERR_UPGRADE_STOPPED', `the upgrade has stopped: ${why}`, action);
