import { GatepathError } from '../base/errors.js';
import type { AttachmentView } from '../control/schemas.js';
import { qemuBlockNode, qemuNodeName } from './formats.js';
import { Qmp, QmpError } from './qmp.js';

/** How long a guest has to let go of a disk after it was asked to. */
const UNPLUG_TIMEOUT_MS = 20_000;
/** PCI class of a PCI-to-PCI bridge, which a root port is. */
const PCI_BRIDGE_CLASS = 0x0604;

/** Puts the disk into a running guest: block node, then device. What was made before a failure is taken back. */
export async function plugDisk(qmpPath: string, attachment: AttachmentView): Promise<void> {
  const node = qemuNodeName(attachment);
  const qmp = await Qmp.open(qmpPath);
  try {
    await qmp.execute('blockdev-add', { ...qemuBlockNode(attachment) });
    try {
      await addDevice(qmp, { driver: 'virtio-blk-pci', id: deviceId(node), drive: node });
    } catch (error) {
      await qmp.execute('blockdev-del', { 'node-name': node });
      throw error;
    }
  } finally {
    qmp.close();
  }
}

/** Takes the disk out of a running guest: the guest is asked, and its block node goes when it has let go. */
export async function unplugDisk(qmpPath: string, vdisk: { readonly vdisk: string; readonly vdiskId: string }): Promise<void> {
  const node = qemuNodeName(vdisk);
  const qmp = await Qmp.open(qmpPath);
  try {
    const gone = qmp.waitFor('DEVICE_DELETED', UNPLUG_TIMEOUT_MS, data => data['device'] === deviceId(node));
    await qmp.execute('device_del', { id: deviceId(node) });
    if (!(await gone)) {
      const message = `the guest has not let go of the disk within ${UNPLUG_TIMEOUT_MS / 1_000} s`;
      throw new GatepathError('retryable', 'ERR_UNPLUG', message, 'unmount it in the guest, and try again');
    }
    await qmp.execute('blockdev-del', { 'node-name': node });
  } finally {
    qmp.close();
  }
}

/** On the default bus (i440fx), or where that one does not take devices (q35) on the first free root port that does. */
async function addDevice(qmp: Qmp, device: Record<string, unknown>): Promise<void> {
  let refusal: QmpError | undefined;
  for (const bus of [undefined, ...(await freeRootPorts(qmp))]) {
    try {
      await qmp.execute('device_add', bus === undefined ? device : { ...device, bus });
      return;
    } catch (error) {
      if (!(error instanceof QmpError)) throw error;
      refusal ??= error;
    }
  }
  const action = 'give the guest a free port: start QEMU with -device pcie-root-port,id=rp1,chassis=1,slot=1';
  throw new GatepathError('invalid', 'ERR_NO_PORT', `the guest has no place for another disk: ${refusal!.description}`, action);
}

interface PciDevice {
  readonly qdev_id: string;
  readonly class_info: { readonly class: number };
  readonly pci_bridge?: { readonly devices?: readonly PciDevice[] };
}

async function freeRootPorts(qmp: Qmp): Promise<string[]> {
  const buses = (await qmp.execute('query-pci')) as { devices: PciDevice[] }[];
  return buses
    .flatMap(bus => bus.devices)
    .filter(device => device.class_info.class === PCI_BRIDGE_CLASS && device.qdev_id !== '' && !device.pci_bridge?.devices?.length)
    .map(device => device.qdev_id);
}

function deviceId(node: string): string {
  return `${node}-dev`;
}
