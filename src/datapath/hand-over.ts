import type { HandedOver, LeftConnection, LeftListener } from 'nbd-server-ts';
import type { AttachmentRecord } from '../meta/model.js';
import type { DatapathShards } from './main.js';
import { DatapathTopic, type SessionPosition, type ShardHandedOver, type ShardTaken } from './messages.js';

/** What a datapath process knows that the one after it has to know before it serves. */
export interface DatapathState {
  readonly attachments: readonly AttachmentRecord[];
  /** Rule 17: the highest term that was seen of each vdisk. */
  readonly floors: Readonly<Record<string, number>>;
}

/** Everything open of a datapath process, and where its sessions are. Descriptors are of this process. */
export interface HandedOverDatapath {
  readonly connections: readonly (LeftConnection & { readonly shard: number })[];
  readonly listeners: readonly LeftListener[];
  readonly sessions: readonly (SessionPosition & { readonly shard: number })[];
}

/** Collects what the shards let go of, and gives them what they go on with. All or nothing: where one shard cannot, the others take theirs back. */
export class HandOver {
  readonly #waiting = new Map<number, (handed: ShardHandedOver) => void>();

  constructor(
    private readonly shards: DatapathShards,
    private readonly acceptingShard: number,
  ) {
    shards.on(DatapathTopic.handedOver, (message, shard) => {
      const waiting = this.#waiting.get(shard);
      this.#waiting.delete(shard);
      waiting?.(message as ShardHandedOver);
    });
  }

  async give(deadlineMs: number): Promise<HandedOverDatapath> {
    const { shards, acceptingShard } = this;
    // The accepting shard first: what it has sent on its way to the others is there when they are asked.
    const first = await this.#ask(acceptingShard, deadlineMs);
    const others = Array.from({ length: shards.count }, (_, shard) => shard).filter(shard => shard !== acceptingShard);
    const answers = [first, ...(first.answer.handed === null ? [] : await Promise.all(others.map(shard => this.#ask(shard, deadlineMs))))];
    const failed = answers.find(({ answer }) => answer.handed === null);
    if (failed === undefined) return collect(answers);
    for (const { shard, answer } of answers) if (answer.handed !== null) this.#send(shard, { handed: answer.handed, sessions: [] });
    throw new Error(failed.answer.problem);
  }

  /** `isOwn`: of the same sessions, which know where they are. A shard that this process does not have is another one's turn. */
  take({ connections, listeners, sessions }: HandedOverDatapath, isOwn: boolean): void {
    const { shards, acceptingShard } = this;
    const others = Array.from({ length: shards.count }, (_, shard) => shard).filter(shard => shard !== acceptingShard);
    // Last who accepts: the others are to have theirs before new ones come.
    for (const shard of [...others, acceptingShard]) {
      const handed: HandedOver = {
        connections: connections.filter(one => one.shard % shards.count === shard),
        listeners: shard === acceptingShard ? listeners : [],
      };
      this.#send(shard, { handed, sessions: isOwn ? [] : sessions.filter(one => one.shard === shard) });
    }
  }

  #ask(shard: number, deadlineMs: number): Promise<{ shard: number; answer: ShardHandedOver }> {
    return new Promise(resolve => {
      this.#waiting.set(shard, answer => resolve({ shard, answer }));
      this.shards.send(shard, DatapathTopic.handOver, { deadlineMs });
    });
  }

  #send(shard: number, taken: ShardTaken): void {
    this.shards.send(shard, DatapathTopic.takeOver, taken);
  }
}

function collect(answers: readonly { readonly shard: number; readonly answer: ShardHandedOver }[]): HandedOverDatapath {
  const of = <T>(pick: (answer: ShardHandedOver) => readonly T[]): (T & { shard: number })[] =>
    answers.flatMap(({ shard, answer }) => pick(answer).map(one => ({ ...one, shard })));
  return {
    connections: of(({ handed }) => handed!.connections),
    listeners: answers.flatMap(({ answer }) => [...answer.handed!.listeners]),
    sessions: of(({ sessions }) => sessions),
  };
}
