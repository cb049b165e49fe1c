import { join } from 'node:path';
import { mkdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { troubleIn } from '../../src/drill/guest/machine.js';
import { systemUnderTest } from '../support/under-test.js';
import { sleep } from '../support/wait.js';
import { Guest } from './runner/guest.js';
import { diskOf, expectHealthy, missingForGuests, useScenario } from './scenario.js';

const missing = missingForGuests('fio');

describe.skipIf(missing.skip)(`file systems of a guest${missing.note}`, () => {
  const { dir, defer } = useScenario();

  async function startSystem(name: string, size: string) {
    const own = join(dir, name);
    mkdirSync(own);
    const system = await systemUnderTest(own, name, size);
    defer(() => system.kill());
    await system.start();
    return system;
  }

  // Both in one guest, each on a disk of its own: booting takes longer than anything that is done there.
  it('ext4 and xfs: made, filled, checked; and files synced before a power cut are there after it', async () => {
    const systems = [await startSystem('ext4', '512M'), await startSystem('xfs', '512M')];
    const disks = systems.map(system => diskOf(system));
    const guest = await Guest.boot({ disks, script: `${FILE_SYSTEMS}\n${FILL_AND_CHECK}\n${WRITE_SYNCED_FILES}` });
    for (const fs of ['ext4', 'xfs']) await guest.waitForOutput(new RegExp(`${fs} synced 5 `));
    await sleep(Math.random() * 1000);
    // The guest and the servers go at once: what only one of them held is lost.
    const [cut] = await Promise.all([guest.powerCut(), ...systems.map(system => system.kill())]);
    expect(troubleIn(cut.kernelLog)).toEqual([]);
    expect(cut.output).toMatch(/ext4 good[^]*xfs good/);
    for (const system of systems) await system.start();
    const files: Record<string, string> = {};
    for (const fs of ['ext4', 'xfs']) {
      const synced = [...cut.output.matchAll(new RegExp(`^${fs} synced (\\d+) (\\w{64})$`, 'gm'))];
      expect(synced.length).toBeGreaterThanOrEqual(5);
      files[`${fs}.sums`] = synced.map(([, number, sum]) => `${sum}  synced${number}\n`).join('');
    }
    const after = await Guest.run({ disks, files, script: `${FILE_SYSTEMS}\n${CHECK_AFTER_CUT}` });
    expectHealthy(after);
    expect(after.output).toMatch(/ext4 good[^]*xfs good/);
    for (const system of systems) await system.stop();
  });

  it("fio's verify state survives a power cut, and what it says was written is there", async () => {
    const system = await startSystem('fio', '256M');
    const disks = [diskOf(system)];
    const programs = ['fio'];
    const job =
      '--name=cut --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=32 --rw=randwrite --bs=4k --size=128M --verify=crc32c --randseed=5';
    // fio saves its state when the trigger fires, then runs the trigger: it hands the state out, and the power goes. When it verifies, it takes what was in flight at the
    // state's moment for written: so that has to come to its end first.
    const trigger = '/bin/sh /trigger';
    const guest = await Guest.boot({
      disks,
      programs,
      memoryMiB: 1024,
      files: { trigger: 'sleep 3\necho "state $(base64 /root/local-cut-0-verify.state | tr -d "\\n") end"\nsleep 60\n' },
      script: `fio ${job} --verify_state_save=1 --do_verify=0 --trigger-timeout=3 --trigger='${trigger}' --output=/tmp/report; cat /tmp/report`,
    });
    const [, state = ''] = await guest.waitForOutput(/state (\S+) end/, 90_000);
    const [cut] = await Promise.all([guest.powerCut(), system.kill()]);
    expect(troubleIn(cut.kernelLog)).toEqual([]);
    await system.start();
    const after = await Guest.run({
      disks,
      programs,
      memoryMiB: 1024,
      files: { 'root/local-cut-0-verify.state': Buffer.from(state, 'base64') },
      script: `cd /root && fio ${job} --verify_state_load=1 --verify_only=1 --verify_fatal=1`,
    });
    expectHealthy(after);
    expect(Number(/issued rwts: total=(\d+)/.exec(after.output)?.[1]), after.output).toBeGreaterThan(100);
    await system.stop();
  });
});

/** Each with its disk and its check; xfs is slow to load, so init leaves it out. */
const FILE_SYSTEMS = `
  set -e
  modprobe xfs
  disk_of() { if [ $1 = ext4 ]; then echo /dev/vda; else echo /dev/vdb; fi; }
  make() { if [ $1 = ext4 ]; then mkfs.ext4 -q /dev/vda; else mkfs.xfs -q -f /dev/vdb; fi; }
  check() { if [ $1 = ext4 ]; then fsck.ext4 -f -n /dev/vda; else xfs_repair -n /dev/vdb; fi; }
  mkdir /mnt/ext4 /mnt/xfs
  attach() { mount -t $1 $(disk_of $1) /mnt/$1; cd /mnt/$1; }
  detach() { cd /; umount /mnt/$1; }`;

const FILL_AND_CHECK = `
  for fs in ext4 xfs; do
    make $fs
    attach $fs
    for i in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of=file$i bs=64k count=32 2>/dev/null; done
    mkdir deep && cp file* deep/ && rm file3
    sha256sum deep/* file1 file8 > sums
    sync
    detach $fs
    attach $fs
    sha256sum -c sums > /dev/null
    detach $fs
    check $fs
    attach $fs
    echo "$fs good"
  done`;

const WRITE_SYNCED_FILES = `
  write() {
    cd /mnt/$1
    i=0
    while [ $i -lt 500 ]; do
      i=$((i + 1))
      dd if=/dev/urandom of=synced$i bs=16k count=$((i % 8 + 1)) conv=fsync 2>/dev/null
      sync
      echo "$1 synced $i $(sha256sum < synced$i | cut -d' ' -f1)"
    done
  }
  write ext4 &
  write xfs &
  wait`;

const CHECK_AFTER_CUT = `
  for fs in ext4 xfs; do
    attach $fs
    sha256sum -c sums > /dev/null
    sha256sum -c /$fs.sums > /dev/null
    detach $fs
    check $fs
    echo "$fs good"
  done`;
