import { GatepathError } from '../base/errors.js';
import type { AttachmentView } from '../control/schemas.js';
import { qemuBlockNode, qemuNodeName } from './formats.js';
import { Qmp, QmpError } from './qmp.js';

interface BlockDevice {
  readonly qdev?: string;
  readonly inserted?: { readonly 'node-name'?: string };
}

/**
 * A block node of QEMU keeps the size that its NBD connection began with, and "block_resize" does not get beyond that. So the disk gets another node, with a connection of
 * its own, in place of the one it has, under its name again: in two steps, since names are unique. The guest's requests wait meanwhile, and none is lost. Then the device
 * is told.
 */
export async function resizeInGuest(qmpPath: string, attachment: AttachmentView, sizeBytes: number): Promise<void> {
  const node = qemuNodeName(attachment);
  const meanwhile = `${node.slice(0, 28)}-rs`;
  const qmp = await Qmp.open(qmpPath);
  try {
    const device = await deviceOf(qmp, qmpPath, node, meanwhile);
    // A call before this one may have ended between the two.
    if (device.node === node) await replace(qmp, device.path, attachment, node, meanwhile);
    await replace(qmp, device.path, attachment, meanwhile, node);
    await qmp.execute('block_resize', { 'node-name': node, size: sizeBytes });
  } finally {
    qmp.close();
  }
}

async function deviceOf(qmp: Qmp, qmpPath: string, ...nodes: readonly string[]): Promise<{ readonly path: string; readonly node: string }> {
  const devices = (await qmp.execute('query-block')) as BlockDevice[];
  for (const { qdev, inserted } of devices) {
    const node = inserted?.['node-name'];
    if (qdev !== undefined && node !== undefined && nodes.includes(node)) return { path: qdev, node };
  }
  const message = `the QEMU at ${qmpPath} has no disk with a block node "${nodes[0]}"`;
  const action = 'the vdisk has its new size; a guest that was given it in another way sees that when it is restarted';
  throw new GatepathError('invalid', 'ERR_NO_DISK', message, action);
}

/** A device takes only a node that is in the thread that it is in itself: its iothread, from when its guest has begun to use it. */
async function setDrive(qmp: Qmp, path: string, node: string): Promise<void> {
  const drive = { path, property: 'drive', value: node };
  try {
    await qmp.execute('qom-set', drive);
  } catch (error) {
    const iothread = error instanceof QmpError ? await iothreadOf(qmp, path) : null;
    if (iothread === null) throw error;
    await qmp.execute('x-blockdev-set-iothread', { 'node-name': node, iothread });
    await qmp.execute('qom-set', drive);
  }
}

/** The id of the object that it was started with; null: there is none. */
async function iothreadOf(qmp: Qmp, path: string): Promise<string | null> {
  try {
    const found = await qmp.execute('qom-get', { path, property: 'iothread' });
    return typeof found === 'string' && found !== '' ? found.slice(found.lastIndexOf('/') + 1) : null;
  } catch (error) {
    // A kind of device that has no such thing.
    if (error instanceof QmpError) return null;
    throw error;
  }
}

async function replace(qmp: Qmp, device: string, attachment: AttachmentView, from: string, to: string): Promise<void> {
  await qmp.execute('blockdev-add', { ...qemuBlockNode(attachment), 'node-name': to });
  try {
    await setDrive(qmp, device, to);
  } catch (error) {
    await qmp.execute('blockdev-del', { 'node-name': to });
    throw error;
  }
  await qmp.execute('blockdev-del', { 'node-name': from });
}
