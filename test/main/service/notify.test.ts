import { join } from 'node:path';
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isAlive } from '../../support/gatepath-cluster.js';
import { gatepathArgv, runGatepath } from '../../support/gatepath.js';
import { TestProcess } from '../../support/process.js';
import { NotifyReceiver, shardThreads, stopThread } from '../../support/service/manager.js';
import { missingPrograms } from '../../support/programs.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { waitFor } from '../../support/wait.js';

const WAIT_MS = 60_000;
const WATCHDOG_MS = 900;
const SHARDS = 2;

/** Real processes, and a real socket of datagrams in the place of systemd's. */
describe.skipIf(missingPrograms('python3').length > 0)('what a service manager hears', { timeout: 240_000 }, () => {
  const dir = makeTempDir('notify');
  const data = join(dir, 'data');
  const stargateSocket = join(dir, 'stargate.sock');
  const config = (kind: string, text: string): string => {
    writeFileSync(join(dir, `${kind}.yaml`), text);
    return join(dir, `${kind}.yaml`);
  };
  const stargateConfig = config('stargate', `data: ${data}\nsocket: ${stargateSocket}\noplog: 512M\ncache: 16M\nshards: ${SHARDS}\n`);
  const datapathConfig = config('datapath', `socket: ${join(dir, 'nbd.sock')}\nstargate: ${stargateSocket}\nshards: ${SHARDS}\n`);
  const env = (socket: string): Record<string, string> => ({ NOTIFY_SOCKET: socket, WATCHDOG_USEC: String(WATCHDOG_MS * 1_000) });

  let heard: NotifyReceiver;
  let stargate: TestProcess;
  const beat = (): Promise<unknown> => heard.next('WATCHDOG=1', heard.all.length);
  beforeAll(async () => {
    heard = await NotifyReceiver.start(join(dir, 'notify.sock'));
    stargate = TestProcess.start(gatepathArgv('stargate', '--config', stargateConfig), { env: env(heard.socket) });
  });
  afterAll(async () => {
    await stargate.kill();
    await heard.stop();
    removeTempDir(dir);
  });

  it('READY when the Stargate serves, and signs of life', async () => {
    const ready = await heard.next('READY=1');
    expect(ready).toEqual({ pid: stargate.pid, text: `READY=1\nSTATUS=serving node-1 at ${stargateSocket}` });
    expect((await runGatepath('status', '--data', data)).code).toBe(0);
    await beat();
    await beat();
  });

  it('RELOADING on SIGHUP, and READY when that is done, with what is not taken on', async () => {
    const from = heard.all.length;
    config('stargate', `data: ${data}\nsocket: ${stargateSocket}\noplog: 512M\ncache: 16M\nshards: ${SHARDS + 1}\n`);
    stargate.signal('SIGHUP');
    expect((await heard.next('RELOADING=1', from)).text).toMatch(/^RELOADING=1\nMONOTONIC_USEC=\d+$/);
    expect((await heard.next('READY=1', from)).text).toMatch(/^READY=1\nSTATUS=serving .*; at the next start: shards$/);
  });

  it('no sign of life as long as one shard is stopped', async () => {
    const [tid] = await shardThreads(stargate.pid, SHARDS);
    const goOn = await stopThread(tid!);
    try {
      await stargate.waitUntil('a complaint', WAIT_MS, () => stargate.stderr.includes('shards do not answer'));
      const from = heard.all.length;
      await new Promise(resolve => setTimeout(resolve, 2 * WATCHDOG_MS));
      expect(heard.all.slice(from)).toEqual([]);
    } finally {
      await goOn();
    }
    await beat();
  });

  it('of a datapath that is replaced: which process is the service now, and from then on that one alone', async () => {
    const manager = await NotifyReceiver.start(`@gatepath-${process.pid}-${Date.now()}`);
    const before = TestProcess.start(gatepathArgv('datapath', '--config', datapathConfig), { env: env(manager.socket) });
    await manager.next('READY=1\nSTATUS=serving NBD at');
    await manager.next('WATCHDOG=1');
    before.signal('SIGUSR2');
    const handed = await manager.next('MAINPID=');
    const from = manager.all.findIndex(({ text }) => text === handed.text) + 1;
    const pid = Number(/^MAINPID=(\d+)$/.exec(handed.text)![1]);
    expect(handed.pid).toBe(before.pid);
    try {
      expect((await manager.next('READY=1', from)).pid).toBe(pid);
      // Not `exited`: the other one has its output.
      await waitFor('the end of the process before', WAIT_MS, () => !isAlive(before.pid));
      await manager.next('WATCHDOG=1', manager.all.length);
      expect(manager.all.slice(from).filter(told => told.pid === before.pid)).toEqual([]);
    } finally {
      process.kill(pid, 'SIGTERM');
    }
    await manager.next('STOPPING=1', from);
    await manager.stop();
  });

  it('STOPPING, once', async () => {
    const from = heard.all.length;
    expect(await stargate.stop(WAIT_MS)).toEqual({ code: 0, signal: null });
    expect(heard.all.slice(from).filter(({ text }) => text === 'STOPPING=1\nSTATUS=stopping')).toHaveLength(1);
  });

  it.skipIf(missingPrograms('systemd-notify').length > 0)('READY from systemd-notify, where the addon is missing', async () => {
    const from = heard.all.length;
    const child = TestProcess.start(gatepathArgv('stargate', '--config', stargateConfig), {
      env: { ...env(heard.socket), URING_ENGINE_NO_ADDON: '1', GATEPATH_ENGINE: 'libuv' },
    });
    expect((await heard.next('READY=1', from)).text).toContain('STATUS=serving node-1');
    expect(await child.stop(WAIT_MS)).toEqual({ code: 0, signal: null });
  });
});
