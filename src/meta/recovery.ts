import { randomUUID } from 'node:crypto';
import { vdiskByName, now, versionOf } from './found.js';
import { formerMembers, historyOf } from './groups.js';
import { groupRecord, keys, type GroupMember, type GroupRecord } from './model.js';
import { parse, retry, retryable, settled } from './records.js';
import type { MetadataStore } from './store.js';

/**
 * Rule 11's last resort: the vdisk goes on from one replica, as its only member, in a new history. All in one transaction: whoever has read the record before, a
 * controller that was only cut off too, finds its epoch passed, and every replica but this one is of a history that is over. Attachments are over with it; they
 * stay until they are detached. Refused where the record is another one than what the decision was made upon.
 */
export async function recoverVdisk(store: MetadataStore, name: string, origin: GroupMember, expectedEpoch: number): Promise<GroupRecord> {
  return retry(async () => {
    const { record, versioned } = await vdiskByName(store, name);
    const found = await store.get(keys.group(record.id));
    const group = found === null ? null : parse(groupRecord, found);
    if (found === null || group?.epoch !== expectedEpoch) {
      const message = `the members of vdisk "${name}" have changed meanwhile`;
      throw retryable('ERR_CHANGED', message, 'look again whether it is still to be recovered, and from which node');
    }
    const [epoch, historyId, generation] = [group.epoch + 1, historyOf(group) + 1, group.generation + 1];
    const value: GroupRecord = {
      ...group,
      ...{ epoch, term: epoch, controller: origin.node, members: [origin], nonce: randomUUID(), generation },
      former: formerMembers(group, [origin]),
      recovered: { historyId, origin, generation, at: now() },
    };
    const transaction = store.transaction(
      [versionOf(versioned), versionOf(found)],
      [
        { put: versioned.key, value: { ...record, historyId } },
        { put: found.key, value },
      ],
    );
    const isDone = async (): Promise<boolean> => {
      const after = await store.get(found.key);
      return after !== null && parse(groupRecord, after).recovered?.historyId === historyId;
    };
    return (await settled(transaction, isDone)) ? value : undefined;
  });
}
