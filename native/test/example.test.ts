import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { isSame, pattern } from './contract/stage.js';

const EXAMPLE = fileURLToPath(new URL('../example/echo.ts', import.meta.url));

/** Sends all of it, in pieces, and resolves with what comes back. */
function echo(path: string, content: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = net.connect(path, () => {
      for (let at = 0; at < content.length; at += 10_000) socket.write(content.subarray(at, at + 10_000));
      socket.end();
    });
    socket.on('data', chunk => chunks.push(chunk)).on('error', reject);
    socket.on('close', () => resolve(Buffer.concat(chunks)));
  });
}

it.each(['io_uring', 'libuv'])('the example echoes: %s', async kind => {
  const directory = fs.mkdtempSync(join(tmpdir(), 'ue-'));
  const path = join(directory, 's');
  const environment = kind === 'libuv' ? { URING_ENGINE_NO_ADDON: '1' } : {};
  const child = spawn(process.execPath, ['--import', 'tsx', EXAMPLE, path], { env: { ...process.env, ...environment } });
  const ended = new Promise(resolve => child.once('close', resolve));
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  try {
    await Promise.race([new Promise(resolve => child.stdout.once('data', resolve)), ended]);
    const contents = Array.from({ length: 20 }, (_, i) => pattern(1 + i * 20_011, i));
    const echoed = await Promise.all(contents.map(content => echo(path, content)));
    for (const [i, content] of contents.entries()) expect(isSame(echoed[i]!, content)).toBe(true);
    expect(errors).toBe(kind === 'libuv' ? 'libuv, not io_uring: the addon does not load (switched off by URING_ENGINE_NO_ADDON)\n' : '');
  } finally {
    child.kill('SIGKILL');
    await ended;
    fs.rmSync(directory, { recursive: true });
  }
});
