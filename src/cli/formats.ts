import { GatepathError } from '../base/errors.js';
import type { AttachmentView } from '../control/schemas.js';

/** How an attached vdisk is named to those who use it. */

/** Seconds for which QEMU holds a guest's requests while the endpoint is away. */
export const RECONNECT_DELAY_S = 86_400;
/** QEMU's bound for the name of a block node, without its NUL. */
const MAX_NODE_NAME = 31;

export const FORMATS = ['uri', 'nbds', 'qemu', 'libvirt', 'kernel'] as const;
export type Format = (typeof FORMATS)[number];

/** doc/uri.md of NetworkBlockDevice/nbd. */
export function nbdUri(attachment: AttachmentView): string {
  const socket = socketOf(attachment).split('/').map(encodeURIComponent).join('/');
  return `nbd+unix:///${encodeURIComponent(attachment.vdisk)}?socket=${socket}`;
}

/** For clients of other machines: TLS over TCP. Their certificates or keys are theirs to name (`tls-certificates=DIR`, `tls-psk-file=FILE`). */
export function nbdsUri({ vdisk, host, nbdTls }: AttachmentView): string {
  if (nbdTls !== null) return `nbds://${nbdTls}/${encodeURIComponent(vdisk)}`;
  throw new GatepathError(
    'invalid',
    'ERR_NO_NBD_TLS',
    `the datapath of host "${host}" serves no other machine`,
    'name "nbd.listen" and "nbd.tls" in its configuration ("gatepath config example datapath")',
  );
}

/** Arguments that give a new guest the disk. */
export function qemuArguments(attachment: AttachmentView): string {
  const options = Object.entries(flatten(qemuBlockNode(attachment))).map(([key, value]) => `${key}=${value.replaceAll(',', ',,')}`);
  const node = qemuNodeName(attachment);
  return `-blockdev ${shellQuote(options.join(','))} -device virtio-blk-pci,drive=${node}`;
}

/** blockdev-add's arguments. `reconnect-delay`: without it QEMU answers the guest with EIO when the connection breaks. */
export function qemuBlockNode(attachment: AttachmentView): QemuBlockNode {
  return {
    driver: 'nbd',
    'node-name': qemuNodeName(attachment),
    server: { type: 'unix', path: socketOf(attachment) },
    export: attachment.vdisk,
    'reconnect-delay': RECONNECT_DELAY_S,
    discard: 'unmap',
    cache: { direct: true },
  };
}

export interface QemuBlockNode {
  readonly driver: 'nbd';
  readonly 'node-name': string;
  readonly server: { readonly type: 'unix'; readonly path: string };
  readonly export: string;
  readonly 'reconnect-delay': number;
  readonly discard: 'unmap';
  readonly cache: { readonly direct: boolean };
}

/** The same for the life of a vdisk, so that a detach finds what an attach has made. */
export function qemuNodeName({ vdisk, vdiskId }: { readonly vdisk: string; readonly vdiskId: string }): string {
  const name = `gp-${vdisk}`;
  return name.length <= MAX_NODE_NAME ? name : `gp-${vdiskId.replaceAll('-', '').slice(0, MAX_NODE_NAME - 3)}`;
}

/** `<disk>` of a libvirt domain. */
export function libvirtDisk(attachment: AttachmentView): string {
  return [
    "<disk type='network' device='disk'>",
    "  <driver name='qemu' type='raw' cache='none' discard='unmap'/>",
    `  <source protocol='nbd' name='${xml(attachment.vdisk)}'>`,
    `    <host transport='unix' socket='${xml(socketOf(attachment))}'/>`,
    `    <reconnect delay='${RECONNECT_DELAY_S}'/>`,
    '  </source>',
    "  <target dev='vda' bus='virtio'/>",
    '</disk>',
  ].join('\n');
}

/** The Linux kernel's client. It does not come back by itself when the endpoint is restarted: what nbd-client calls -persist works with ioctls alone, and it speaks netlink. */
export function kernelCommand(attachment: AttachmentView): string {
  const socket = shellQuote(socketOf(attachment));
  return `modprobe nbd && nbd-client -unix ${socket} /dev/nbd0 -name ${attachment.vdisk} -block-size 4096 -connections 2`;
}

export function formatAttachment(attachment: AttachmentView, format: Format): string {
  switch (format) {
    case 'uri':
      return nbdUri(attachment);
    case 'nbds':
      return nbdsUri(attachment);
    case 'qemu':
      return qemuArguments(attachment);
    case 'libvirt':
      return libvirtDisk(attachment);
    case 'kernel':
      return kernelCommand(attachment);
  }
}

function socketOf({ nbdSocket, host }: AttachmentView): string {
  if (nbdSocket !== null) return nbdSocket;
  throw new GatepathError(
    'retryable',
    'ERR_NO_DATAPATH',
    `no datapath has ever run at host "${host}"`,
    'start one there: gatepath datapath --config FILE',
  );
}

/** `{a: {b: 1}}` → `{'a.b': '1'}`, as QEMU's command line wants it. */
function flatten(value: object, prefix = ''): Record<string, string> {
  const flat: Record<string, string> = {};
  for (const [key, inner] of Object.entries(value) as [string, unknown][]) {
    if (typeof inner === 'object' && inner !== null) Object.assign(flat, flatten(inner, `${prefix}${key}.`));
    else flat[prefix + key] = inner === true ? 'on' : inner === false ? 'off' : String(inner);
  }
  return flat;
}

function shellQuote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

function xml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll("'", '&apos;').replaceAll('<', '&lt;');
}
