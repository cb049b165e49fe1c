import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GatepathError } from '../base/errors.js';
import { findProgram } from '../cli/programs.js';
import type { BesideLoad, BesideReport } from './beside.js';
import { GUEST_PROGRAMS } from './guest/initramfs.js';
import { hasKernel, KERNEL_PACKAGE } from './guest/kernel.js';
import { CONSOLE_FILE, guestCommand, STATUS_FILE, troubleIn, type GuestShape } from './guest/machine.js';
import { GUEST_BOOT_MS, GUEST_RECONNECT_SEC, LAST_PASS_MS, MAX_DESCRIBED, MAX_GUEST_OUTPUT_CHARS } from './limits.js';

const TOOLS = ['mke2fs', 'e2fsck', 'fio'];
const MEMORY_MIB = 768;
const BEGUN = 'the passes begin';
/** A disk whose first block tells the guest that there will be no more passes. */
const SIGNAL_FILE = 'signal';
const SIGNAL_BYTES = 4_096;
const SIGNAL = 'over';

/**
 * A Linux guest under QEMU, with an ext4 file system on the vdisk: fio in it writes, reads and compares, pass after pass, until it is stopped or has failed. It fails also where its
 * kernel complains of the disk, or its file system is not in order at the end. QEMU comes back to an NBD server that has gone.
 */
export class GuestLoad implements BesideLoad {
  readonly #dir = mkdtempSync(join(tmpdir(), 'gp-guest-'));
  readonly #ended: Promise<string | null>;
  #qemu: ChildProcess | undefined;
  #output = '';
  #complaint = '';
  #isKilled = false;
  #onBegun: () => void = () => undefined;

  constructor(
    readonly nbdSocket: string,
    readonly exportName: string,
    readonly seed: number,
  ) {
    this.#ended = this.#run().catch((error: Error) => error.message);
  }

  /** Throws where there is no guest that can do it. */
  static check(): void {
    const missing = [...GUEST_PROGRAMS, ...TOOLS].filter(name => findProgram(name) === undefined);
    if (!hasKernel()) missing.push(`a kernel (${KERNEL_PACKAGE})`);
    if (missing.length === 0) return;
    const action = 'install it (Debian: qemu-system-x86 busybox-static kmod e2fsprogs fio), or leave --load guest away';
    throw new GatepathError('invalid', 'ERR_NO_GUEST', `for a guest there is missing: ${missing.join(', ')}`, action);
  }

  async ready(): Promise<void> {
    const begun = new Promise<'begun'>(resolve => {
      this.#onBegun = () => resolve('begun');
      if (this.#hasBegun) resolve('begun');
    });
    const late = setTimeout(() => this.#qemu?.kill('SIGKILL'), GUEST_BOOT_MS);
    const ended = await Promise.race([begun, this.#ended]);
    clearTimeout(late);
    if (ended === 'begun') return;
    const message = `the guest did not come to its first pass: ${ended ?? ''} ${this.#lastLines()}`;
    throw new GatepathError('fatal', 'ERR_GUEST', message, 'look at its kernel, or leave --load guest away');
  }

  async stop(): Promise<BesideReport> {
    writeFileSync(join(this.#dir, SIGNAL_FILE), SIGNAL.padEnd(SIGNAL_BYTES), { flag: 'r+' });
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      this.#qemu?.kill('SIGKILL');
    }, LAST_PASS_MS);
    const ended = await this.#ended;
    clearTimeout(timer);
    const failures = [...troubleIn(this.#kernelLog)];
    if (isLate) failures.push(`the last pass was not through within ${LAST_PASS_MS} ms`);
    else if (ended !== null) failures.push(`${ended}: ${this.#lastLines()}`);
    const passes = this.#output.split('\n').filter(line => line.startsWith('pass ')).length;
    this.#remove();
    return { load: 'guest', passes, failures: failures.slice(0, MAX_DESCRIBED) };
  }

  kill(): void {
    this.#isKilled = true;
    this.#qemu?.kill('SIGKILL');
    this.#remove();
  }

  /** null: its script has come to its end without an error. Otherwise what went wrong. */
  async #run(): Promise<string | null> {
    const signal = join(this.#dir, SIGNAL_FILE);
    writeFileSync(signal, ''.padEnd(SIGNAL_BYTES));
    const shape: GuestShape = {
      disks: [
        { kind: 'nbd', socket: this.nbdSocket, exportName: this.exportName, reconnectDelaySec: GUEST_RECONNECT_SEC },
        { kind: 'file', path: signal },
      ],
      memoryMiB: MEMORY_MIB,
      script: script(this.seed),
    };
    const [program, ...args] = await guestCommand(this.#dir, TOOLS, shape);
    if (this.#isKilled) return 'it was killed';
    // An open stdin: see `guestCommand`.
    const qemu = (this.#qemu = spawn(program!, args, { stdio: ['pipe', 'pipe', 'pipe'] }));
    qemu.stdout.setEncoding('utf8').on('data', (text: string) => this.#wrote(text));
    qemu.stderr
      .setEncoding('utf8')
      .on('data', (text: string) => (this.#complaint = (this.#complaint + text).slice(-MAX_GUEST_OUTPUT_CHARS)));
    const signalled = await new Promise<string>(resolve => {
      qemu.once('error', error => resolve(error.message));
      qemu.once('close', (code, by) => resolve(String(by ?? code)));
    });
    const status = this.#read(STATUS_FILE).trim();
    if (status === '0') return null;
    return status === '' ? `QEMU ended (${signalled}) before the guest: ${this.#complaint}` : `the guest ended with ${status}`;
  }

  #wrote(text: string): void {
    this.#output = (this.#output + text).slice(-MAX_GUEST_OUTPUT_CHARS);
    if (this.#hasBegun) this.#onBegun();
  }

  get #hasBegun(): boolean {
    return this.#output.includes(BEGUN);
  }

  get #kernelLog(): string {
    return this.#read(CONSOLE_FILE).replaceAll('\r', '');
  }

  #lastLines(): string {
    return this.#output.trim().split('\n').slice(-4).join(' | ');
  }

  #read(name: string): string {
    const path = join(this.#dir, name);
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  #remove(): void {
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

const script = (seed: number): string => `
  set -e
  mkfs.ext4 -q /dev/vda
  mount /dev/vda /mnt
  echo "${BEGUN}"
  pass=0
  until [ $pass -gt 0 ] && dd if=/dev/vdb bs=${SIGNAL_BYTES} count=1 iflag=direct 2>/dev/null | grep -q ${SIGNAL}; do
    pass=$((pass + 1))
    fio --directory=/mnt --name=verify --bs=4k --iodepth=8 --ioengine=libaio --direct=1 --size=4M --rw=randwrite --verify=crc32c --verify_fatal=1 \\
      --do_verify=1 --randseed=$((${seed} + pass)) --output=/tmp/log || { cat /tmp/log; exit 1; }
    grep -q "err= 0" /tmp/log
    echo "pass $pass"
  done
  umount /mnt
  fsck.ext4 -f -n /dev/vda`;
