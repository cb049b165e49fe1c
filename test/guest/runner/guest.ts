import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TestProcess } from '../../support/process.js';
import { program } from '../../support/programs.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { CpioArchive } from './cpio.js';
import { baseInitramfs } from './initramfs.js';
import { guestKernel } from './kernel.js';
import { Qmp } from './qmp.js';

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

export interface GuestOptions {
  readonly disks?: readonly GuestDisk[];
  /** Script for busybox sh. Its exit status is the guest's. Programs there: busybox, file system tools, nbd-client, `programs`. */
  readonly script: string;
  /** Programs of this machine that the guest gets besides, with their libraries; a plugin by its absolute path. */
  readonly programs?: readonly string[];
  /** Files put into the guest's root, by path without leading slash. */
  readonly files?: Readonly<Record<string, string | Buffer>>;
  readonly memoryMiB?: number;
  readonly cpus?: number;
  /** Network by slirp: this machine's loopback is 10.0.2.2 in the guest. */
  readonly network?: boolean;
  /** TCP ports of the guest that get a port on this machine's loopback: `forwardedPort()`. Implies `network`. */
  readonly forwardPorts?: readonly number[];
  /** Does not boot: waits for a guest of the same options that migrates to `migrationUri`. */
  readonly incoming?: boolean;
  /** After this the guest is killed and its result says 'timeout'. */
  readonly timeoutMs?: number;
}

export interface GuestResult {
  readonly ended: 'exit' | 'killed' | 'timeout' | 'crash';
  /** Of the script; null when the guest did not get so far. */
  readonly exitStatus: number | null;
  /** stdout and stderr of the script. */
  readonly output: string;
  /** The guest kernel's messages: file system and I/O errors are here. */
  readonly kernelLog: string;
}

const DEFAULT_TIMEOUT_MS = 240_000;
const KERNEL_ARGUMENTS =
  'console=ttyS0 loglevel=7 panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check random.trust_cpu=on net.ifnames=0';

/** A throw-away Linux guest under QEMU without hardware acceleration: for behaviour, not for speed. Boots in a few seconds. */
export class Guest {
  readonly result: Promise<GuestResult>;
  readonly qmpSocket: string;
  readonly #qemu: TestProcess;
  readonly #dir: string;
  #ended: 'killed' | 'timeout' | undefined;

  private constructor(dir: string, qemu: TestProcess, timeoutMs: number) {
    this.#dir = dir;
    this.#qemu = qemu;
    this.qmpSocket = join(dir, 'qmp');
    const timer = setTimeout(() => {
      this.#ended ??= 'timeout';
      this.#qemu.signal('SIGKILL');
    }, timeoutMs);
    this.result = qemu.exited.then(() => {
      clearTimeout(timer);
      const result = this.#collect();
      removeTempDir(dir);
      return result;
    });
  }

  static async boot(options: GuestOptions): Promise<Guest> {
    const kernel = await guestKernel();
    const base = await baseInitramfs(kernel, options.programs ?? []);
    const dir = makeTempDir('guest');
    writeFileSync(join(dir, 'initrd'), Buffer.concat([base, ownFiles(options)]));
    // The output port hangs on QEMU's stdio: with an ended stdin QEMU would treat it as disconnected and drop the output.
    const qemu = TestProcess.start([program('qemu-system-x86_64'), ...qemuArguments(dir, kernel.image, options)], { holdStdin: true });
    return new Guest(dir, qemu, options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  }

  /** Boots, and waits for the end. */
  static async run(options: GuestOptions): Promise<GuestResult> {
    return (await Guest.boot(options)).result;
  }

  /** Where a guest with `incoming` waits, as QEMU's "migrate" wants it. */
  get migrationUri(): string {
    return migrationUri(this.#dir);
  }

  get pid(): number {
    return this.#qemu.pid;
  }

  /** What the script has written so far. */
  get output(): string {
    return this.#qemu.stdout;
  }

  get kernelLog(): string {
    const path = join(this.#dir, 'console');
    return existsSync(path) ? readFileSync(path, 'utf8').replaceAll('\r', '') : '';
  }

  /** Waits for the script to write something that matches; fails at once when the guest ends without it. */
  async waitForOutput(pattern: RegExp, timeoutMs = 120_000): Promise<RegExpExecArray> {
    try {
      return await this.#qemu.waitUntil(`guest output ${String(pattern)}`, timeoutMs, () => pattern.exec(this.output) ?? undefined);
    } catch (error) {
      const log = this.#qemu.isRunning ? this.kernelLog : (await this.result).kernelLog;
      throw new Error(`${(error as Error).message}\nkernel log:\n${log}`, { cause: error });
    }
  }

  /** Power cut: QEMU is gone at once, and with it everything the guest had not made durable. */
  async powerCut(): Promise<GuestResult> {
    this.#ended ??= 'killed';
    this.#qemu.signal('SIGKILL');
    return this.result;
  }

  async qmp(): Promise<Qmp> {
    await this.#qemu.waitUntil('QMP socket', 10_000, () => existsSync(this.qmpSocket));
    return Qmp.open(this.qmpSocket);
  }

  /** The port on this machine's loopback that leads to `guestPort`. */
  async forwardedPort(guestPort: number): Promise<number> {
    const qmp = await this.qmp();
    try {
      const table = String(await qmp.execute('human-monitor-command', { 'command-line': 'info usernet' }));
      for (const line of table.split('\n')) {
        const [, , , hostPort, , target] = line.trim().split(/\s+/);
        if (line.includes('TCP[HOST_FORWARD]') && target === String(guestPort)) return Number(hostPort);
      }
      throw new Error(`port ${guestPort} is not forwarded:\n${table}`);
    } finally {
      qmp.close();
    }
  }

  #collect(): GuestResult {
    const statusFile = join(this.#dir, 'status');
    const status = existsSync(statusFile) ? readFileSync(statusFile, 'utf8').trim() : '';
    const exitStatus = status === '' ? null : Number(status);
    const kernelLog = `${this.kernelLog}${this.#qemu.stderr === '' ? '' : `\nqemu: ${this.#qemu.stderr}`}`;
    return { ended: this.#ended ?? (exitStatus === null ? 'crash' : 'exit'), exitStatus, output: this.output, kernelLog };
  }
}

const migrationUri = (dir: string): string => `unix:${join(dir, 'in')}`;

function ownFiles(options: GuestOptions): Buffer {
  const archive = new CpioArchive();
  const network = options.network === true || (options.forwardPorts ?? []).length > 0;
  archive.file('guest.env', `GUEST_NETWORK=${network ? 1 : 0}\nGUEST_DISKS=${(options.disks ?? []).length}\n`);
  archive.file('script', options.script);
  for (const [path, content] of Object.entries(options.files ?? {})) archive.file(path, content, 0o755);
  return archive.finish();
}

function qemuArguments(dir: string, kernelImage: string, options: GuestOptions): string[] {
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
  argv.push('-kernel', kernelImage, '-initrd', join(dir, 'initrd'), '-append', KERNEL_ARGUMENTS);
  argv.push('-serial', `file:${join(dir, 'console')}`, '-qmp', `unix:${join(dir, 'qmp')},server=on,wait=off`);
  argv.push('-device', 'virtio-serial-pci');
  argv.push('-chardev', 'stdio,id=out,signal=off', '-device', 'virtserialport,chardev=out,name=out,nr=1');
  argv.push('-chardev', `file,id=status,path=${join(dir, 'status')}`, '-device', 'virtserialport,chardev=status,name=status,nr=2');
  // Root ports are the slots that disks can be plugged into while the guest runs: rp0, rp1.
  for (const slot of [0, 1]) argv.push('-device', `pcie-root-port,id=rp${slot},chassis=${slot + 1},slot=${slot + 1}`);
  argv.push(...networkArguments(options));
  (options.disks ?? []).forEach((disk, index) => argv.push(...diskArguments(disk, index)));
  return argv;
}

function networkArguments(options: GuestOptions): string[] {
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
