import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CONSOLE_FILE, guestCommand, migrationUri, QMP_SOCKET, STATUS_FILE, type GuestShape } from '../../../src/drill/guest/machine.js';
import { TestProcess } from '../../support/process.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { Qmp } from './qmp.js';

/** In every guest. */
export const GUEST_TOOLS = ['mke2fs', 'e2fsck', 'mkfs.xfs', 'xfs_repair', 'nbd-client'];

export interface GuestOptions extends GuestShape {
  /** Programs of this machine that the guest gets with their libraries, besides busybox, file system tools and nbd-client; a plugin by its absolute path. */
  readonly programs?: readonly string[];
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
    this.qmpSocket = join(dir, QMP_SOCKET);
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
    const dir = makeTempDir('guest');
    const command = await guestCommand(dir, [...GUEST_TOOLS, ...(options.programs ?? [])], options);
    const qemu = TestProcess.start(command, { holdStdin: true });
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
    const path = join(this.#dir, CONSOLE_FILE);
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
    const statusFile = join(this.#dir, STATUS_FILE);
    const status = existsSync(statusFile) ? readFileSync(statusFile, 'utf8').trim() : '';
    const exitStatus = status === '' ? null : Number(status);
    const kernelLog = `${this.kernelLog}${this.#qemu.stderr === '' ? '' : `\nqemu: ${this.#qemu.stderr}`}`;
    return { ended: this.#ended ?? (exitStatus === null ? 'crash' : 'exit'), exitStatus, output: this.output, kernelLog };
  }
}
