import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DescriptorChannel } from 'uring-engine';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { ControlClient } from '../../src/control/client.js';
import { Load } from '../../src/drill/load.js';
import { Random } from '../../src/drill/random.js';
import { checkHistory } from '../../src/drill/verdict.js';
import { HandoverChannel } from '../../src/main/handover/channel.js';
import { helloOf, offer } from '../../src/main/handover/messages.js';
import { isAlive } from '../support/gatepath-cluster.js';
import { GatepathSplit } from '../support/gatepath-split.js';
import { NbdClient } from '../support/nbd/client.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { waitFor } from '../support/wait.js';

const MIB = 1 << 20;
const WAIT_MS = 60_000;
const HOT_BLOCKS = 32;
const WIDE_BLOCKS = 2_048;

/** Real processes: a Stargate, and datapaths that follow each other while clients are connected. */
describe('a datapath that is replaced', () => {
  const dir = makeTempDir('replace');
  const system = new GatepathSplit({ dir, vdisk: 'demo', size: '64M' });
  beforeAll(() => system.start(), 240_000);
  afterAll(async () => {
    await system.kill();
    removeTempDir(dir);
  });

  const loadOf = (seed: number): Load =>
    new Load(
      {
        nbdSocket: system.socket,
        exportName: 'demo',
        connections: 3,
        readers: 0,
        queueDepth: 2,
        hotBlocks: HOT_BLOCKS,
        wideBlocks: WIDE_BLOCKS,
        coldBlocks: 0,
        random: new Random(seed),
        endpointDies: false,
      },
      1,
      new Float64Array(WIDE_BLOCKS),
    );

  /** Runs the action under a recorded load that goes on before and after it; its history has to be one of a disk, without an error or a disconnect. */
  async function underLoad(seed: number, act: (load: Load) => Promise<void>): Promise<void> {
    const load = loadOf(seed);
    // What the blocks hold from before.
    const before = await contentOf(system.socket);
    await load.start();
    const progress = async (): Promise<void> => {
      const { completed } = load;
      await waitFor('the load goes on', WAIT_MS, () => load.completed > completed + 200);
    };
    await progress();
    await act(load);
    await progress();
    expect(await load.stop()).toBe(0);
    expect({ errors: load.errors, disconnects: load.disconnects, events: [...load.errorEvents, ...load.disconnectEvents] }).toEqual({
      errors: 0,
      disconnects: 0,
      events: [],
    });
    const verdict = checkHistory(load.operations, before);
    expect(verdict.findings).toEqual([]);
  }

  async function contentOf(socket: string): Promise<Float64Array> {
    // Each load begins on zeroes: one round's numbers are nothing to the next.
    const client = await NbdClient.connect({ socket }, 'demo');
    await client.write(0, Buffer.alloc(WIDE_BLOCKS * 4_096));
    await client.disconnect();
    return new Float64Array(WIDE_BLOCKS);
  }

  it('five times under load, and its clients see neither an error nor a disconnect', async () => {
    await underLoad(1, async load => {
      const pids = new Set([system.part('datapath').pid]);
      for (let round = 0; round < 5; round++) {
        const { completed } = load;
        const { now } = await system.replaceDatapath();
        pids.add(now.pid);
        await waitFor('answers of the new one', WAIT_MS, () => load.completed > completed + 200);
        expect(readFileSync(`${system.socket}.pid`, 'utf8').trim()).toBe(String(now.pid));
        const { datapath } = await new ControlClient({ socketPath: join(dir, 'control.sock') }).status();
        expect([datapath!.pid, datapath!.sessions.reduce((sum, one) => sum + one.connections, 0)]).toEqual([now.pid, 3]);
      }
      expect(pids.size).toBe(6);
    });
  });

  describe('by one that fails', () => {
    /** Nothing is seen of it, and the next one that does not fail takes over. */
    const servesOn = (seed: number, act: () => Promise<void>): Promise<void> =>
      underLoad(seed, async () => {
        const { pid } = system.part('datapath');
        await act();
        expect(system.part('datapath').isRunning).toBe(true);
        expect(readFileSync(`${system.socket}.pid`, 'utf8').trim()).toBe(String(pid));
      });
    const connect = (): HandoverChannel => HandoverChannel.connect(`${system.socket}.handover`);
    const saysOn = (text: string): Promise<unknown> => waitFor(text, WAIT_MS, () => system.part('datapath').output.includes(text));

    it('it does not speak the same version, or nothing that is known', async () => {
      await servesOn(2, async () => {
        const channel = connect();
        await channel.send({ ...helloOf('gatepath 99'), version: 99 } as never, WAIT_MS);
        await expect(channel.receive(offer, WAIT_MS)).rejects.toMatchObject({ code: 'ERR_HANDOVER_VERSION' });
        channel.close();
        await saysOn('hand-over version 99 (gatepath 99) is not known');
        const babbler = DescriptorChannel.connect(`${system.socket}.handover`);
        await babbler.send(Buffer.from('GET / HTTP/1.1\r\n\r\n'), [], WAIT_MS);
        expect(await babbler.receive(WAIT_MS)).toBe(null);
        babbler.close();
        await saysOn('announces a message of');
      });
    });

    it('it goes when it has everything and has not said so, or when it is to be ready', async () => {
      await servesOn(3, async () => {
        // One for the busy one, and one for the one that goes.
        const failures = (): number => system.part('datapath').output.split('this one serves on').length;
        for (const goesAt of ['offer', 'ready', 'all'] as const) {
          const before = failures();
          const channel = connect();
          await channel.send(helloOf('test'), WAIT_MS);
          await channel.receive(offer, WAIT_MS);
          const busy = connect();
          await busy.send(helloOf('test'), WAIT_MS);
          await expect(busy.receive(offer, WAIT_MS)).rejects.toMatchObject({ code: 'ERR_HANDOVER_BUSY' });
          busy.close();
          if (goesAt !== 'offer') await channel.send({ kind: 'ready' }, WAIT_MS);
          const kinds: string[] = [];
          while (goesAt === 'all' && kinds.at(-1) !== 'end') {
            const { kind } = await channel.receive(z.object({ kind: z.string() }), WAIT_MS);
            kinds.push(kind);
          }
          if (goesAt === 'all') expect(kinds).toEqual(['listener', 'connection', 'connection', 'connection', 'end']);
          channel.close();
          await waitFor('it serves on', WAIT_MS, () => failures() > before + 1);
        }
      });
    });

    it('it is killed while it starts, or is of another host', async () => {
      await servesOn(4, async () => {
        const path = join(dir, 'other.yaml');
        const config = parse(readFileSync(join(dir, 'datapath.yaml'), 'utf8')) as object;
        writeFileSync(path, stringify({ ...config, host: 'another' }));
        const other = system.startSuccessor(path);
        expect(await other.exited).toMatchObject({ code: 1 });
        expect(other.output).toContain('is of the host');
        const killed = system.startSuccessor();
        await saysOn('another datapath process is to take over');
        await killed.kill();
        await saysOn('the other process has gone');
      });
    });

    it('there is nothing to replace', async () => {
      const path = join(dir, 'nobody.yaml');
      const config = parse(readFileSync(join(dir, 'datapath.yaml'), 'utf8')) as object;
      writeFileSync(path, stringify({ ...config, socket: join(dir, 'nobody.sock') }));
      const one = system.startSuccessor(path);
      expect(await one.exited).toMatchObject({ code: 1 });
      expect(one.output).toContain('start it without --replace');
    });
  });

  it('while qemu-io is connected: what it wrote before it reads after, on the same connection', async () => {
    const qemu = spawn('qemu-io', ['-f', 'raw', `nbd+unix:///demo?socket=${system.socket}`], { stdio: ['pipe', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [qemu.stdout, qemu.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (said += text));
    const ended = new Promise(resolve => qemu.once('exit', resolve));
    qemu.stdin.write(`write -P 7 ${32 * MIB} 1M\n`);
    await waitFor('the write', WAIT_MS, () => said.includes('wrote 1048576'));
    await system.replaceDatapath();
    qemu.stdin.end(`read -P 7 ${32 * MIB} 1M\nwrite -P 8 ${33 * MIB} 1M\nread -P 8 ${33 * MIB} 1M\nquit\n`);
    expect(await ended).toBe(0);
    expect(said.match(/read 1048576/g)?.length, said).toBe(2);
    expect(said).not.toMatch(/fail|error|lost/i);
  });

  it('by a signal: it starts the next one itself, and that one writes the pid file', async () => {
    await underLoad(5, async () => {
      const before = system.part('datapath');
      process.kill(before.pid, 'SIGUSR2');
      // Its output does not end with it: the next one writes there, too.
      await waitFor('its end', WAIT_MS, () => !isAlive(before.pid));
      const pid = Number(readFileSync(`${system.socket}.pid`, 'utf8'));
      expect(pid).not.toBe(before.pid);
      await waitFor('its management', WAIT_MS, async () => {
        const status = await new ControlClient({ socketPath: join(dir, 'control.sock') }).status().catch(() => null);
        return status?.datapath?.pid === pid;
      });
      await system.adoptDatapath(pid);
    });
  });

  it('killed and started again, QEMU connects again within its reconnect-delay and its guest sees no error', async () => {
    const options = `driver=nbd,server.type=unix,server.path=${system.socket},export=demo,reconnect-delay=300`;
    const qemu = spawn('qemu-io', ['--image-opts', options], { stdio: ['pipe', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [qemu.stdout, qemu.stderr]) stream.setEncoding('utf8').on('data', (text: string) => (said += text));
    const ended = new Promise(resolve => qemu.once('exit', resolve));
    qemu.stdin.write(`write -P 9 ${34 * MIB} 1M\n`);
    await waitFor('the write', WAIT_MS, () => said.includes('wrote 1048576'));
    await system.killPart('datapath');
    qemu.stdin.end(`read -P 9 ${34 * MIB} 1M\nwrite -P 10 ${35 * MIB} 1M\nread -P 10 ${35 * MIB} 1M\nquit\n`);
    await system.startPart('datapath');
    expect(await ended).toBe(0);
    expect(said.match(/read 1048576/g)?.length, said).toBe(2);
  });
});
