import { spawn } from 'node:child_process';
import { sendDatagram, type EngineError } from 'uring-engine';
import type { Logger } from '../../base/log.js';

/** As systemd names them in the environment of a service (sd_notify(3), sd_watchdog_enabled(3)). */
const SOCKET = 'NOTIFY_SOCKET';
const WATCHDOG_USEC = 'WATCHDOG_USEC';
const WATCHDOG_PID = 'WATCHDOG_PID';

type Environment = Record<string, string | undefined>;

/**
 * Tells whoever supervises this process what it is about, by datagrams to $NOTIFY_SOCKET, as systemd expects them of a service of `Type=notify`. Without that variable
 * nobody is told anything. A message that cannot be sent is logged and no more: the process serves all the same.
 */
export class ServiceManager {
  #silent: boolean;
  #lastSent: Promise<void> = Promise.resolve();

  private constructor(
    private readonly log: Logger,
    private readonly socket: string | null,
    /** Microseconds, in which a sign of life has to come; null: none is asked for. */
    private readonly watchdogUsec: number | null,
  ) {
    this.#silent = socket === null;
  }

  /** Takes the variables out of the environment: they are not meant for the processes that this one starts. */
  static take(log: Logger, env: Environment = process.env, pid: number = process.pid): ServiceManager {
    const { [SOCKET]: socket = '', [WATCHDOG_USEC]: usec, [WATCHDOG_PID]: forPid } = env;
    for (const name of [SOCKET, WATCHDOG_USEC, WATCHDOG_PID]) delete env[name];
    const isForUs = forPid === undefined || Number(forPid) === pid;
    const watchdogUsec = isForUs && Number.isSafeInteger(Number(usec)) && Number(usec) > 0 ? Number(usec) : null;
    return new ServiceManager(log, socket === '' ? null : socket, watchdogUsec);
  }

  /** So often a sign of life has to come; null: nobody waits for any. */
  get watchdogMs(): number | null {
    return this.#silent || this.watchdogUsec === null ? null : this.watchdogUsec / 1_000;
  }

  /** A start takes its time: `status` says what it does, and a further `extendMs` are asked for. */
  starting(status: string, extendMs: number): void {
    this.#send([`STATUS=${oneLine(status)}`, `EXTEND_TIMEOUT_USEC=${extendMs * 1_000}`]);
  }

  /** It serves. Also what ends {@link reloading}. */
  ready(status: string): void {
    this.#send(['READY=1', `STATUS=${oneLine(status)}`]);
  }

  reloading(): void {
    // Microseconds of CLOCK_MONOTONIC: what `Type=notify-reload` wants to see.
    this.#send(['RELOADING=1', `MONOTONIC_USEC=${process.hrtime.bigint() / 1_000n}`]);
  }

  alive(): void {
    this.#send(['WATCHDOG=1']);
  }

  stopping(): void {
    this.#send(['STOPPING=1', 'STATUS=stopping']);
  }

  /** Another process is the service's from here on (null: it has not said which): nothing more is heard of this one, whose end is not the service's. */
  handOver(pid: number | null): void {
    if (pid !== null) this.#send([`MAINPID=${pid}`]);
    this.#silent = true;
  }

  /** For a process that may become the service's main one in our place: of WATCHDOG_PID nothing, since its number is another. */
  environment(): Readonly<Record<string, string>> {
    if (this.socket === null) return {};
    return { [SOCKET]: this.socket, ...(this.watchdogUsec === null ? {} : { [WATCHDOG_USEC]: String(this.watchdogUsec) }) };
  }

  #send(lines: readonly string[]): void {
    if (this.#silent) return;
    try {
      sendDatagram(this.socket!, Buffer.from(lines.join('\n')));
    } catch (error) {
      const { code, message } = error as EngineError;
      // One after the other: READY=1 may not come before the RELOADING=1 that it ends.
      if (code === 'ERR_UNSUPPORTED') this.#lastSent = this.#lastSent.then(() => this.#sendByProgram(lines));
      else this.#failed(message);
    }
  }

  /** Without the addon: by systemd's own program for shell scripts. The unit's NotifyAccess= has to let children of ours speak. */
  #sendByProgram(lines: readonly string[]): Promise<void> {
    return new Promise(resolve => {
      const child = spawn('systemd-notify', lines, { stdio: 'ignore', env: { ...process.env, [SOCKET]: this.socket! } });
      child.once('error', error => {
        this.#failed(`systemd-notify: ${error.message}`);
        resolve();
      });
      child.once('exit', status => {
        if (status !== 0) this.#failed(`systemd-notify ended with status ${status}`);
        resolve();
      });
    });
  }

  #failed(error: string): void {
    this.log.log('error', 'the service manager ($NOTIFY_SOCKET) cannot be told how this process does', { error });
  }
}

/** A line feed would begin another assignment. */
const oneLine = (text: string): string => text.replace(/\s+/g, ' ');
