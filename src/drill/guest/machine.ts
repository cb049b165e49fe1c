import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { program } from '../programs.js';
import { CpioArchive } from './cpio.js';
import { baseInitramfs } from './initramfs.js';
import { guestKernel } from './kernel.js';

/** Disks become /dev/vda, /dev/vdb, ... in the order given. */
export type GuestDisk =
  | {
      readonly kind: 'nbd';
      readonly socket: string;
      readonly exportName: string;
      /** How long QEMU holds requests back while the server is away, before they fail. Default 0: they fail at once. */
      readonly reconnectDelaySec?: number;
      /** Of its block node; default: disk and a number. */
      readonly nodeName?: string;
      /** Its requests are another thread's than QEMU's main one. */
      readonly iothread?: boolean;
    }
  | { readonly kind: 'file'; readonly path: string; readonly readOnly?: boolean };

/** What a guest is booted with. */
export interface GuestShape {
  readonly disks?: readonly GuestDisk[];
  /** Script for busybox sh. Its exit status is the guest's. */
  readonly script: string;
  /** Files put into the guest's root, by path without leading slash. */
  readonly files?: Readonly<Record<string, string | Buffer>>;
  readonly memoryMiB?: number;
  readonly cpus?: number;
  /** Network by slirp: this machine's loopback is 10.0.2.2 in the guest. */
  readonly network?: boolean;
  /** TCP ports of the guest that get a port on this machine's loopback. Implies `network`. */
  readonly forwardPorts?: readonly number[];
  /** Does not boot: waits for a guest of the same shape that migrates to `migrationUri`. */
  readonly incoming?: boolean;
}

/** Files of a guest in its directory. */
export const CONSOLE_FILE = 'console';
export const STATUS_FILE = 'status';
export const QMP_SOCKET = 'qmp';
const INITRD_FILE = 'initrd';

const KERNEL_ARGUMENTS =
  'console=ttyS0 loglevel=7 panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check random.trust_cpu=on net.ifnames=0';

const TROUBLE =
  /I\/O error|Buffer I\/O|EXT4-fs (error|warning)|EXT4-fs .*: (error|Remounting)|JBD2: .*(error|Error|abort)|Aborting journal|XFS .*(error|Corruption|shutdown|Shutting)|Oops|BUG:|blocked for more than/;

/**
 * Makes what the guest boots, in `dir`, and gives QEMU's command line. Its console goes to CONSOLE_FILE; what the script writes, to QEMU's stdout; its exit status, to STATUS_FILE.
 * `programs`: of this machine, by name or absolute path, that the guest gets besides busybox. The output port hangs on QEMU's stdio: with an ended stdin QEMU would take it for
 * disconnected, and drop the output.
 */
export async function guestCommand(dir: string, programs: readonly string[], shape: GuestShape): Promise<string[]> {
  const kernel = await guestKernel();
  const base = await baseInitramfs(kernel, programs);
  writeFileSync(join(dir, INITRD_FILE), Buffer.concat([base, ownFiles(shape)]));
  return [program('qemu-system-x86_64'), ...qemuArguments(dir, kernel.image, shape)];
}

/** Lines of the guest kernel's messages that say that a disk has failed it, in any layer. */
export const troubleIn = (kernelLog: string): string[] => kernelLog.split('\n').filter(line => TROUBLE.test(line));

/** Where a guest that waits in `dir` is to be migrated to, as QEMU's "migrate" wants it. */
export const migrationUri = (dir: string): string => `unix:${join(dir, 'in')}`;

function ownFiles(options: GuestShape): Buffer {
  const archive = new CpioArchive();
  const network = options.network === true || (options.forwardPorts ?? []).length > 0;
  archive.file('guest.env', `GUEST_NETWORK=${network ? 1 : 0}\nGUEST_DISKS=${(options.disks ?? []).length}\n`);
  archive.file('script', options.script);
  for (const [path, content] of Object.entries(options.files ?? {})) archive.file(path, content, 0o755);
  return archive.finish();
}

function qemuArguments(dir: string, kernelImage: string, options: GuestShape): string[] {
  const argv = [
    '-accel',
    'tcg,thread=multi',
    '-cpu',
    'max',
    '-M',
    'q35',
    '-smp',
    String(options.cpus ?? 2),
    '-m',
    String(options.memoryMiB ?? 768),
  ];
  if (options.incoming === true) argv.push('-incoming', migrationUri(dir));
  argv.push('-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none');
  argv.push('-kernel', kernelImage, '-initrd', join(dir, INITRD_FILE), '-append', KERNEL_ARGUMENTS);
  argv.push('-serial', `file:${join(dir, CONSOLE_FILE)}`, '-qmp', `unix:${join(dir, QMP_SOCKET)},server=on,wait=off`);
  argv.push('-device', 'virtio-serial-pci');
  argv.push('-chardev', 'stdio,id=out,signal=off', '-device', 'virtserialport,chardev=out,name=out,nr=1');
  argv.push('-chardev', `file,id=status,path=${join(dir, STATUS_FILE)}`, '-device', 'virtserialport,chardev=status,name=status,nr=2');
  // Root ports are the slots that disks can be plugged into while the guest runs: rp0, rp1.
  for (const slot of [0, 1]) argv.push('-device', `pcie-root-port,id=rp${slot},chassis=${slot + 1},slot=${slot + 1}`);
  argv.push(...networkArguments(options));
  (options.disks ?? []).forEach((disk, index) => argv.push(...diskArguments(disk, index)));
  return argv;
}

function networkArguments(options: GuestShape): string[] {
  const forwards = options.forwardPorts ?? [];
  if (options.network !== true && forwards.length === 0) return ['-nic', 'none'];
  const rules = forwards.map(port => `,hostfwd=tcp:127.0.0.1:0-:${port}`).join('');
  return ['-netdev', `user,id=net0${rules}`, '-device', 'virtio-net-pci,netdev=net0,romfile='];
}

function diskArguments(disk: GuestDisk, index: number): string[] {
  const node = (disk.kind === 'nbd' ? disk.nodeName : undefined) ?? `disk${index}`;
  const hasThread = disk.kind === 'nbd' && disk.iothread === true;
  const backend =
    disk.kind === 'nbd'
      ? `driver=nbd,server.type=unix,server.path=${disk.socket},export=${disk.exportName},reconnect-delay=${disk.reconnectDelaySec ?? 0}`
      : `driver=raw,file.driver=file,file.filename=${disk.path},file.aio=native,file.cache.direct=on`;
  const readOnly = disk.kind === 'file' && disk.readOnly === true ? ',read-only=on' : '';
  return [
    ...(hasThread ? ['-object', `iothread,id=io${index}`] : []),
    '-blockdev',
    `${backend},node-name=${node},cache.direct=on,discard=unmap${readOnly}`,
    '-device',
    `virtio-blk-pci,id=vd${index},drive=${node}${hasThread ? `,iothread=io${index}` : ''}`,
  ];
}
