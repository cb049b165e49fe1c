import { randomUUID } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import { silentLogger } from '../../src/base/log.js';
import { createTermFloor, SharedTermFloor } from '../../src/datapath/floor.js';
import type { Accusation } from '../../src/datapath/messages.js';
import { Quarantines } from '../../src/datapath/quarantines.js';
import { casGroup, viewOf } from '../../src/meta/groups.js';
import { keys, type GroupRecord } from '../../src/meta/model.js';
import { groupOf } from '../../src/meta/nodes.js';
import { createContainer, createVdisk } from '../../src/meta/operations.js';
import { quarantineOf, releaseVdisk } from '../../src/meta/quarantine.js';
import { MemoryMetadata } from '../meta/memory-metadata.js';
import { sleep, waitFor } from '../support/wait.js';

const WAIT_MS = 10_000;
const member = { node: 'n1', storeUuid: randomUUID(), incarnation: 1 };

/** The main thread's part of one host's datapath; the test is the follower of the record. */
class Host {
  readonly memory = createTermFloor();
  readonly floor = new SharedTermFloor(this.memory);
  readonly quarantines: Quarantines;

  constructor(
    store: MemoryMetadata,
    readonly host: string,
  ) {
    this.quarantines = new Quarantines({ store, host, log: silentLogger, floorOf: () => this.memory });
  }

  accuse(vdiskId: string, offsetBytes = 0): void {
    // As the shard does.
    this.floor.hold();
    const request = { op: 'write', offsetBytes, lengthBytes: 4_096 };
    this.quarantines.accused({ vdiskId, generation: 1, requests: [request], nodes: ['n1', 'n2'], terms: [1, 2] } satisfies Accusation);
  }
}

let store: MemoryMetadata;
let id: string;
let [here, there]: [Host, Host] = [] as unknown as [Host, Host];
const record = async (): Promise<GroupRecord> => (await groupOf(store, id))!;
const whenRecorded = (): Promise<GroupRecord> =>
  waitFor('the record', WAIT_MS, async () => {
    const group = await record();
    return quarantineOf(group) !== null && group;
  });

beforeEach(async () => {
  store = new MemoryMetadata();
  await createContainer(store, 'three', { replicationFactor: 3 });
  ({ id } = await createVdisk(store, { name: 'v', sizeBytes: 4096, container: 'three' }, () => Promise.resolve([member])));
  [here, there] = [new Host(store, 'here'), new Host(store, 'there')];
});

describe('a quarantine', () => {
  it('of one datapath is read by another, and ends for both when it is released', async () => {
    there.quarantines.attached(id);
    here.accuse(id, 8_192);
    const group = await whenRecorded();
    expect(group.quarantine).toMatchObject({ host: 'here', nodes: ['n1', 'n2'], requests: [{ op: 'write', offsetBytes: 8_192 }] });
    there.quarantines.read(id, group);
    expect(there.floor.isHeld()).toBe(true);
    expect(there.quarantines.problemOf(id)).toContain('n1 and n2 died, one after the other, while they had a write of 4096 bytes at 8192');

    await releaseVdisk(store, 'v');
    for (const one of [here, there]) {
      one.quarantines.read(id, await record());
      expect([one.floor.isHeld(), one.quarantines.problemOf(id)]).toEqual([false, null]);
    }
    await expect(releaseVdisk(store, 'v')).rejects.toThrow('is not quarantined');
  });

  it('is not ended by a record that is older than it', async () => {
    const before = await record();
    here.accuse(id);
    here.quarantines.read(id, before);
    expect(here.floor.isHeld()).toBe(true);
    await whenRecorded();
    here.quarantines.read(id, before);
    here.quarantines.read(id, null);
    expect(here.floor.isHeld()).toBe(true);
    // A former one that was released.
    await releaseVdisk(store, 'v');
    const released = await record();
    here.quarantines.read(id, released);
    here.accuse(id);
    here.quarantines.read(id, released);
    expect(here.floor.isHeld()).toBe(true);
  });

  it('holds a vdisk that has just been attached until its record says that it may be served', async () => {
    here.quarantines.attached(id);
    expect([here.floor.isHeld(), here.quarantines.problemOf(id)]).toEqual([true, null]);
    here.quarantines.read(id, await record());
    expect(here.floor.isHeld()).toBe(false);
    there.quarantines.attached(id);
    there.quarantines.read(id, null);
    expect(there.floor.isHeld()).toBe(false);
  });

  it('is written as soon as the metadata answers, and by one of two that have found it out', async () => {
    store.available = false;
    here.accuse(id);
    there.accuse(id);
    await sleep(20);
    store.available = true;
    const { quarantine } = await whenRecorded();
    const other = quarantine!.host === 'here' ? there : here;
    await waitFor('the other one has read it', WAIT_MS, () => other.quarantines.problemOf(id)!.includes(quarantine!.at));
    await releaseVdisk(store, 'v');
    for (const one of [here, there]) {
      one.quarantines.read(id, await record());
      expect(one.floor.isHeld(), one.host).toBe(false);
    }
  });

  it('names what the sessions of several shards had', async () => {
    for (let i = 0; i < 10; i++) here.accuse(id, i * 4_096);
    const requests = (): Promise<number> => record().then(({ quarantine }) => quarantine?.requests.length ?? 0);
    await waitFor('eight of them', WAIT_MS, async () => (await requests()) === 8);
    expect(here.quarantines.problemOf(id)).toContain('at 0, or 7 more');
  });

  it('outlives a change of the members', async () => {
    here.accuse(id);
    const group = await whenRecorded();
    const next = { ...viewOf(group), epoch: group.epoch + 1, nonce: randomUUID() };
    expect(await casGroup(store, id, group.epoch, next)).toEqual({ kind: 'applied' });
    expect(quarantineOf(await record())).toEqual(group.quarantine);
    // What an older version has written.
    const { value, version } = (await store.get(keys.group(id)))!;
    const old = { ...(value as GroupRecord), quarantine: undefined };
    await store.transaction([{ key: keys.group(id), version }], [{ put: keys.group(id), value: old }]);
    here.quarantines.read(id, await record());
    expect(here.floor.isHeld()).toBe(true);
  });
});
