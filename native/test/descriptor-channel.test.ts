import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it } from 'vitest';
import { DescriptorChannel, MAX_PASSED, type Received } from '../src/descriptor-channel.js';
import { socketPair } from '../src/socket-pair.js';

const WAIT_MS = 20_000;
const cleanUps: (() => void)[] = [];

afterEach(() => {
  for (const cleanUp of cleanUps.splice(0)) cleanUp();
});

function pair(): [DescriptorChannel, DescriptorChannel] {
  const channels = socketPair().map(fd => new DescriptorChannel(fd)) as [DescriptorChannel, DescriptorChannel];
  for (const channel of channels) cleanUps.push(() => channel.close());
  return channels;
}

function directory(): string {
  const path = fs.mkdtempSync(join(tmpdir(), 'dc-'));
  cleanUps.push(() => fs.rmSync(path, { recursive: true, force: true }));
  return path;
}

async function receiveBytes(channel: DescriptorChannel, count: number): Promise<Received> {
  const parts: Uint8Array[] = [];
  const descriptors: number[] = [];
  for (let got = 0; got < count;) {
    const received = (await channel.receive(WAIT_MS))!;
    parts.push(received.bytes);
    descriptors.push(...received.descriptors);
    got += received.bytes.length;
  }
  return { bytes: Buffer.concat(parts), descriptors };
}

const openNow = (): number => fs.readdirSync('/proc/self/fd').length;
const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'no error',
    (error: unknown) => (error as { code: string }).code,
  );

it('passes bytes and descriptors, whole, in their order, more bytes than a socket holds', async () => {
  const [a, b] = pair();
  const folder = directory();
  const files = ['one', 'two'].map(name => {
    fs.writeFileSync(join(folder, name), name);
    return fs.openSync(join(folder, name), 'r');
  });
  const large = Buffer.alloc(3 << 20, 7);
  const sending = a.send(large, files, WAIT_MS).then(() => a.send(Buffer.from('end'), [], WAIT_MS));
  const { bytes, descriptors } = await receiveBytes(b, large.length + 3);
  await sending;
  for (const fd of files) fs.closeSync(fd);
  expect(Buffer.compare(bytes.subarray(0, large.length), large)).toBe(0);
  expect(Buffer.from(bytes.subarray(large.length)).toString()).toBe('end');
  // The sender has closed its own; these are the same files.
  expect(descriptors.map(fd => fs.readFileSync(fd, 'utf8'))).toEqual(['one', 'two']);
  for (const fd of descriptors) fs.closeSync(fd);
});

it('passes as many descriptors as the system allows in one message, and refuses more', async () => {
  const [a, b] = pair();
  const file = fs.openSync('/dev/null', 'r');
  const before = openNow();
  const sending = a.send(Buffer.from('x'), new Array<number>(MAX_PASSED).fill(file), WAIT_MS);
  const { descriptors } = await receiveBytes(b, 1);
  await sending;
  expect(new Set(descriptors).size).toBe(MAX_PASSED);
  expect(openNow()).toBe(before + MAX_PASSED);
  for (const fd of [...descriptors, file]) fs.closeSync(fd);
  expect(await codeOf(a.send(Buffer.from('x'), new Array<number>(MAX_PASSED + 1).fill(0), WAIT_MS))).toBe('ERR_ARGUMENT');
  expect(await codeOf(a.send(Buffer.alloc(0), [], WAIT_MS))).toBe('ERR_ARGUMENT');
  expect(await codeOf(a.send(Buffer.from('x'), [-1], WAIT_MS))).toBe('EBADF');
});

it('says when nothing comes, when nothing is taken, and when the other side has gone', async () => {
  const [a, b] = pair();
  expect(await codeOf(a.receive(20))).toBe('ETIMEDOUT');
  expect(await codeOf(a.send(Buffer.alloc(8 << 20), [], 20))).toBe('ETIMEDOUT');
  a.close();
  while ((await b.receive(WAIT_MS)) !== null);
  expect(await codeOf(b.send(Buffer.from('x'), [], WAIT_MS))).toBe('EPIPE');
});

it('ends what waits when it is closed, and lets its descriptor go then', async () => {
  const before = openNow();
  const [a, b] = pair();
  const waiting = a.receive(WAIT_MS);
  a.close();
  expect(await waiting).toBe(null);
  expect(await codeOf(a.receive(WAIT_MS))).toBe('EBADF');
  b.close();
  expect(openNow()).toBe(before);
});

it('takes a connection over from a listener of Node, and passes a live socket to another process', async () => {
  const path = join(directory(), 's');
  const listener = net.createServer({ pauseOnConnect: true });
  cleanUps.push(() => listener.close());
  await new Promise<void>(resolve => listener.listen(path, resolve));
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', fileURLToPath(new URL('./support/descriptor-taker.ts', import.meta.url)), path],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  );
  cleanUps.push(() => child.kill('SIGKILL'));
  const channel = await new Promise<DescriptorChannel>(resolve =>
    listener.once('connection', socket => resolve(DescriptorChannel.takeOver(socket))),
  );
  cleanUps.push(() => channel.close());
  const [near, far] = socketPair();
  await channel.send(Buffer.from('socket'), [far], WAIT_MS);
  fs.closeSync(far);
  const client = new net.Socket({ fd: near });
  cleanUps.push(() => client.destroy());
  client.write('ping');
  const answer = await new Promise<Buffer>(resolve => client.once('data', resolve));
  expect(answer.toString()).toBe('from another process: ping');
});

it('says why it cannot connect', () => {
  const folder = directory();
  for (const [path, code] of [
    [join(folder, 'none'), 'ENOENT'],
    ['', 'ERR_ARGUMENT'],
    ['x'.repeat(200), 'ERR_PATH_TOO_LONG'],
  ] as const) {
    expect(() => DescriptorChannel.connect(path)).toThrow(expect.objectContaining({ code }));
  }
});
