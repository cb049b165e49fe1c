import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GatepathError } from '../base/errors.js';
import type { BesideLoad, BesideReport } from './beside.js';
import { LAST_PASS_MS, MAX_DESCRIBED } from './limits.js';

const JOB = ['--ioengine=nbd', '--rw=randwrite', '--bs=4k', '--size=8M', '--iodepth=8'];
/** Everything that was written is read and compared; the first difference ends the pass with an error. */
const VERIFY = ['--verify=crc32c', '--verify_fatal=1', '--do_verify=1'];
const MAX_OUTPUT_CHARS = 4_000;

/** fio over NBD, pass after pass, until it is stopped or has failed. */
export class FioLoad implements BesideLoad {
  /** Its working directory: fio leaves its verify state there. */
  readonly #dir = mkdtempSync(join(tmpdir(), 'gp-fio-'));
  readonly #failures: string[] = [];
  readonly #running: Promise<void>;
  #passes = 0;
  #isStopping = false;
  #fio: ChildProcess | undefined;

  constructor(
    readonly uri: string,
    readonly seed: number,
  ) {
    this.#running = this.#run();
  }

  /** Throws where there is no fio that can do it. */
  static check(): void {
    const { stdout, error } = spawnSync('fio', ['--enghelp'], { encoding: 'utf8' });
    if (error === undefined && /\bnbd\b/.test(stdout)) return;
    const message = error === undefined ? 'this fio has no nbd engine' : `fio does not run: ${error.message}`;
    throw new GatepathError('invalid', 'ERR_NO_FIO', message, 'install it (package fio), or leave --load fio away');
  }

  async ready(): Promise<void> {}

  async stop(): Promise<BesideReport> {
    this.#isStopping = true;
    const timer = setTimeout(() => {
      this.#failures.push(`the last pass was not through within ${LAST_PASS_MS} ms`);
      this.#fio?.kill('SIGKILL');
    }, LAST_PASS_MS);
    await this.#running;
    clearTimeout(timer);
    rmSync(this.#dir, { recursive: true, force: true });
    return { load: 'fio', passes: this.#passes, failures: this.#failures.slice(0, MAX_DESCRIBED) };
  }

  kill(): void {
    this.#isStopping = true;
    this.#fio?.kill('SIGKILL');
  }

  async #run(): Promise<void> {
    while (!this.#isStopping && this.#failures.length === 0) {
      const failure = await this.#pass(this.#passes + 1);
      if (failure === null) this.#passes++;
      else this.#failures.push(failure);
    }
  }

  #pass(number: number): Promise<string | null> {
    const args = [`--name=pass-${number}`, ...JOB, `--uri=${this.uri}`, ...VERIFY, `--randseed=${this.seed + number}`];
    return new Promise(resolve => {
      const fio = spawn('fio', args, { cwd: this.#dir, stdio: ['ignore', 'pipe', 'pipe'] });
      this.#fio = fio;
      let output = '';
      for (const stream of [fio.stdout, fio.stderr]) {
        stream.setEncoding('utf8').on('data', (text: string) => (output = (output + text).slice(-MAX_OUTPUT_CHARS)));
      }
      fio.once('error', error => resolve(`fio, pass ${number}: ${error.message}`));
      fio.once('close', (code, signal) =>
        resolve(code === 0 ? null : `fio, pass ${number}, ended with ${signal ?? code}: ${errorsIn(output)}`),
      );
    });
  }
}

/** The lines that say what went wrong. */
function errorsIn(output: string): string {
  const lines = output.split('\n').filter(line => /error|verify|fio:/i.test(line));
  return lines.slice(0, 4).join(' | ') || output.slice(-200);
}
