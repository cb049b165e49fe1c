import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { decodeControl, encodeControl } from '../../src/wire/control.js';
import { createHeader, decodeHeader, FrameType } from '../../src/wire/frame.js';
import { errorMessage, type ErrorMessage } from '../../src/wire/hello.js';
import { HEADER_BYTES } from '../../src/wire/limits.js';
import { gatepath, runGatepath } from '../support/gatepath.js';
import { GatepathSplit } from '../support/gatepath-split.js';
import { NbdClient } from '../support/nbd/client.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const dir = makeTempDir('clock');
const env = { NODE_OPTIONS: `--import=${new URL('jumping-clock.mjs', import.meta.url).href}` };
const system = new GatepathSplit({ dir, vdisk: 'demo', size: '64M', env });
afterAll(async () => {
  await system.kill();
  removeTempDir(dir);
});

/** What a Stargate answers to a hello of these versions. */
function greet(socketPath: string, versionMin: number, versionMax: number): Promise<ErrorMessage> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    const socket = connect(socketPath);
    socket.on('error', reject).on('data', chunk => chunks.push(chunk));
    socket.on('end', () => {
      const bytes = Buffer.concat(chunks);
      const header = createHeader();
      decodeHeader(new DataView(bytes.buffer, bytes.byteOffset), 0, header);
      expect(header.type).toBe(FrameType.error);
      resolve(decodeControl(errorMessage, bytes.subarray(HEADER_BYTES, HEADER_BYTES + header.payloadBytes)));
    });
    socket.write(encodeControl(FrameType.hello, { versionMin, versionMax, role: 'stargate', software: 'of another time' }));
  });
}

it('a clock that jumps by years costs nothing, nor does a node of another protocol version, which is told which one to upgrade', async () => {
  await system.start();
  const client = await NbdClient.connect({ socket: system.socket }, 'demo');
  await client.write(0, Buffer.alloc(4_096, 1));
  const refused = await greet(join(dir, 'stargate.sock'), 8, 9);
  expect(refused).toEqual({
    code: 'ERR_WIRE_VERSION',
    message: 'this Stargate speaks protocol versions 1 to 1, the client speaks 8 to 9: upgrade the older of the two',
  });
  // A vdisk made and attached, a Stargate that dies, and what a datapath waits for until it is back.
  // Several, since a wait that ends by the time of day may end in time by chance.
  for (const name of ['second', 'third', 'fourth']) {
    await gatepath('vdisk', 'create', name, '64M', '--data', join(dir, 'data'));
    const { code, stderr } = await runGatepath('attach', name, '--data', join(dir, 'data'));
    expect([code, stderr]).toEqual([0, '']);
  }
  await system.killPart('stargate');
  const write = client.write(4_096, Buffer.alloc(4_096, 2));
  await system.startPart('stargate');
  await write;
  expect((await client.read(0, 8_192)).equals(Buffer.concat([Buffer.alloc(4_096, 1), Buffer.alloc(4_096, 2)]))).toBe(true);
  await client.disconnect();
  await system.stop();
});
