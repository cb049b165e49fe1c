import { GatepathError } from '../base/errors.js';
import type { ShardPool } from '../shard/pool.js';
import { StargateTopic, type CommandReply, type CommandRequest } from '../stargate/messages.js';
import type { VdiskAnswer, VdiskCommand } from '../wire/vdisk-command.js';
import { COMMAND_TIMEOUT_MS } from './limits.js';

/** Commands for vdisks on their way to the shards, and the answers on theirs back. */
export class VdiskCommands {
  readonly #asked = new Map<number, (answer: VdiskAnswer) => void>();
  #lastRequest = 0;

  constructor(
    private readonly pool: ShardPool,
    private readonly shardOf: (vdiskId: string) => number,
  ) {
    pool.on(StargateTopic.commandReply, message => {
      const { request, answer } = message as CommandReply;
      this.#asked.get(request)?.(answer);
    });
  }

  /** Rejects where there is no answer in time: what was asked may be done, or not, or later. */
  ask(vdiskId: string, command: VdiskCommand): Promise<VdiskAnswer> {
    const request = ++this.#lastRequest;
    return new Promise<VdiskAnswer>((resolve, reject) => {
      const silent = (): void => {
        const message = `vdisk ${vdiskId}: its controller has not answered within ${COMMAND_TIMEOUT_MS} ms`;
        reject(new GatepathError('retryable', 'ERR_TIMEOUT', message, 'look what has become of it, and try again'));
      };
      const timer = setTimeout(silent, COMMAND_TIMEOUT_MS);
      this.#asked.set(request, answer => {
        clearTimeout(timer);
        resolve(answer);
      });
      this.pool.send(this.shardOf(vdiskId), StargateTopic.command, { request, vdiskId, command } satisfies CommandRequest);
    }).finally(() => this.#asked.delete(request));
  }
}
