import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { GatepathError } from '../../base/errors.js';
import { ControlClient } from '../../control/client.js';
import type { CountersView } from '../../control/watch/view.js';
import { CONTROL_SOCKET } from '../system.js';
import type { Look } from './rates.js';

const ANSWER_TIMEOUT_MS = 3_000;

/** The processes of a system that this machine reaches, and what each had counted when it was looked at last. */
export class Sources {
  readonly #last = new Map<string, CountersView>();

  private constructor(private readonly clients: readonly ControlClient[]) {}

  /** `system`: one of them, which knows the others. */
  static async of(system: ControlClient): Promise<Sources> {
    const { node, nodes, hosts } = await system.status();
    if (node === null) return new Sources([system]);
    const sockets = [
      ...nodes.flatMap(({ control }) => (control?.startsWith('unix:') === true ? [control.slice('unix:'.length)] : [])),
      ...hosts.map(({ nbdSocket }) => join(dirname(nbdSocket), CONTROL_SOCKET)),
    ].filter(path => existsSync(path));
    const all = [...new Set(sockets)].map(socketPath => new ControlClient({ socketPath }, ANSWER_TIMEOUT_MS));
    return new Sources(all.length === 0 ? [system] : all);
  }

  /** Of those that answer. Throws what the first one says when none does. */
  async look(): Promise<Look[]> {
    const answers = await Promise.allSettled(this.clients.map(client => client.counters()));
    const views = answers.flatMap(one => (one.status === 'fulfilled' ? [one.value] : []));
    if (views.length === 0) throw reasonOf(answers);
    return views.map(after => {
      const process = [after.node, after.host].filter(name => name !== null).join('+') || 'gatepath';
      const before = this.#last.get(process) ?? null;
      this.#last.set(process, after);
      return { process, before, after };
    });
  }
}

function reasonOf(answers: readonly PromiseSettledResult<unknown>[]): unknown {
  const failed = answers.find(one => one.status === 'rejected');
  return failed?.reason ?? new GatepathError('retryable', 'ERR_NOT_RUNNING', 'no process of the system answers', 'start it');
}
