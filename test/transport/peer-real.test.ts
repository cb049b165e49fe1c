import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PeerNode } from '../../src/wire/peers.js';

const ENTRIES = 400;
let directory: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'gatepath-peer-'));
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(directory, { recursive: true, force: true });
});

/** A port of the loopback that is free now. */
function freePort(): Promise<number> {
  return new Promise(resolve => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

describe.each(['io_uring', 'libuv'])('a link between two processes, %s', engine => {
  const vdisk = randomUUID();

  async function nodes(kind: string): Promise<[PeerNode, PeerNode]> {
    const make = async (node: string): Promise<PeerNode> => ({
      node,
      storeUuid: randomUUID(),
      incarnation: 1,
      unix: join(directory, `${node}.sock`),
      tcp: kind === 'tcp' ? `127.0.0.1:${await freePort()}` : null,
      shards: 1,
      streams: 2,
    });
    return [await make('a'), await make('b')];
  }

  function start(self: PeerNode, peer: PeerNode, entries: number): ChildProcess {
    const file = fileURLToPath(new URL('real/peer.ts', import.meta.url));
    const options = ['--engine', engine, '--self', JSON.stringify(self), '--peer', JSON.stringify(peer), '--vdisk', vdisk];
    const child = spawn(process.execPath, ['--import', 'tsx', file, ...options, '--entries', String(entries)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    children.push(child);
    return child;
  }

  function line(child: ChildProcess, n: number): Promise<string> {
    return new Promise((resolve, reject) => {
      let text = '';
      child.stdout!.on('data', (data: Buffer) => {
        text += data.toString();
        const lines = text.split('\n');
        if (lines.length > n) resolve(lines[n - 1]!);
      });
      child.on('exit', code => reject(new Error(`ended with ${code} before it said all`)));
    });
  }

  it.each(['unix', 'tcp'])('over %s carries all bytes, in order', async kind => {
    const [a, b] = await nodes(kind);
    await line(start(b, a, 0), 1);
    expect(JSON.parse(await line(start(a, b, ENTRIES), 2))).toMatchObject({ acked: ENTRIES, bad: 0 });
  });

  it.each([engine === 'libuv' ? 'unix' : 'tcp'])('over %s breaks when the other process hangs, and comes back', async kind => {
    const [a, b] = await nodes(kind);
    const follower = start(b, a, 0);
    await line(follower, 1);
    const leader = start(a, b, 20 * ENTRIES);
    const end = line(leader, 2);
    end.catch(() => undefined);
    await line(leader, 1);
    await delay(100);
    follower.kill('SIGSTOP');
    await delay(1_500);
    follower.kill('SIGCONT');
    const { acked, bad, lost } = JSON.parse(await end) as { acked: number; bad: number; lost: number };
    expect({ acked, bad }).toEqual({ acked: 20 * ENTRIES, bad: 0 });
    expect(lost).toBeGreaterThan(0);
  });
});
