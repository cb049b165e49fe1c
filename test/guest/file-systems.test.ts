import { join } from 'node:path';
import { mkdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { systemUnderTest } from '../support/under-test.js';
import { sleep } from '../support/wait.js';
import { Guest } from './runner/guest.js';
import { diskOf, expectHealthy, missingForGuests, troubleIn, useScenario } from './scenario.js';

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

  it('ext4 and xfs: made, filled, checked, and still there after a restart', async () => {
    const system = await startSystem('fs', '1G');
    const disks = [diskOf(system)];
    const script = `
      set -e
      modprobe xfs # it is slow to load, so init leaves it out
      for fs in ext4 xfs; do
        if [ $fs = ext4 ]; then mkfs.ext4 -q /dev/vda; else mkfs.xfs -q -f /dev/vda; fi
        mount -t $fs /dev/vda /mnt
        for i in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of=/mnt/file$i bs=64k count=32 2>/dev/null; done
        mkdir /mnt/deep && cp /mnt/file* /mnt/deep/ && rm /mnt/file3
        (cd /mnt && sha256sum deep/* file1 file8 > sums)
        sync
        umount /mnt
        mount -t $fs /dev/vda /mnt
        (cd /mnt && sha256sum -c sums > /dev/null)
        umount /mnt
        if [ $fs = ext4 ]; then fsck.ext4 -f -n /dev/vda; else xfs_repair -n /dev/vda; fi
        echo "$fs good"
      done`;
    const first = await Guest.run({ disks, script });
    expectHealthy(first);
    expect(first.output).toMatch(/ext4 good[^]*xfs good/);
    await system.stop();
    await system.start();
    expectHealthy(
      await Guest.run({ disks, script: 'set -e; modprobe xfs; mount -t xfs /dev/vda /mnt; cd /mnt; sha256sum -c sums; cd /; umount /mnt' }),
    );
    await system.stop();
  }, 180_000);

  it.each(['ext4', 'xfs'])(
    '%s: files synced before a power cut are there after it',
    async fs => {
      const system = await startSystem(`cut-${fs}`, '512M');
      const disks = [diskOf(system)];
      const guest = await Guest.boot({ disks, script: writeSyncedFiles(fs) });
      await guest.waitForOutput(/synced 5 /);
      await sleep(Math.random() * 1000);
      // The guest and the server go at once: what only one of them held is lost.
      const [cut] = await Promise.all([guest.powerCut(), system.kill()]);
      await system.start();
      const synced = [...cut.output.matchAll(/^synced (\d+) (\w{64})$/gm)].map(match => `${match[2]}  f${match[1]}`);
      expect(synced.length).toBeGreaterThanOrEqual(5);
      const after = await Guest.run({
        disks,
        files: { sums: `${synced.join('\n')}\n` },
        script: `
        set -e
        modprobe ${fs}
        mount -t ${fs} /dev/vda /mnt
        cd /mnt; sha256sum -c /sums; cd /
        umount /mnt
        ${fs === 'ext4' ? 'fsck.ext4 -f -n /dev/vda' : 'xfs_repair -n /dev/vda'}`,
      });
      expectHealthy(after);
      await system.stop();
    },
    180_000,
  );

  it("fio's verify state survives a power cut, and what it says was written is there", async () => {
    const system = await startSystem('fio', '256M');
    const disks = [diskOf(system)];
    const programs = ['fio'];
    const job =
      '--name=cut --filename=/dev/vda --direct=1 --ioengine=libaio --iodepth=32 --rw=randwrite --bs=4k --size=128M --verify=crc32c --randseed=5';
    // fio saves its state when the trigger fires, then runs the trigger: it hands the state out, and the power goes.
    const trigger = '/bin/sh /trigger';
    const guest = await Guest.boot({
      disks,
      programs,
      memoryMiB: 1024,
      files: { trigger: 'echo "state $(base64 /root/local-cut-0-verify.state | tr -d "\\n") end"\nsleep 60\n' },
      script: `fio ${job} --verify_state_save=1 --do_verify=0 --trigger-timeout=3 --trigger='${trigger}' --output=/tmp/report; cat /tmp/report`,
    });
    const [, state = ''] = await guest.waitForOutput(/state (\S+) end/, 90_000);
    const [cut] = await Promise.all([guest.powerCut(), system.kill()]);
    expect(troubleIn(cut)).toEqual([]);
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
  }, 240_000);
});

function writeSyncedFiles(fs: string): string {
  return `
    set -e
    modprobe ${fs}
    mkfs.${fs} -q /dev/vda
    mount -t ${fs} /dev/vda /mnt
    cd /mnt
    i=0
    while :; do
      i=$((i + 1))
      dd if=/dev/urandom of=f$i bs=16k count=$((i % 8 + 1)) conv=fsync 2>/dev/null
      sync
      echo "synced $i $(sha256sum < f$i | cut -d' ' -f1)"
      [ $i -lt 200 ] || exit 0
    done`;
}
