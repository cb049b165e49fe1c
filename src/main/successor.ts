import { spawn } from 'node:child_process';
import type { Logger } from '../base/log.js';
import type { ServiceManager } from './service/manager.js';

const REPLACE = '--replace';

/**
 * SIGUSR2: starts the program that is on the disk now, with our own command line and `--replace`. For whoever supervises us (systemd):
 * the new process is started from here, so that it belongs where this one belongs, and knows whom to tell that it is the service's main process now.
 */
export function startSuccessorOnSignal(log: Logger, manager: ServiceManager): void {
  let isStarting = false;
  process.on('SIGUSR2', () => {
    if (isStarting) return;
    isStarting = true;
    const args = [...process.execArgv, ...process.argv.slice(1).filter(argument => argument !== REPLACE), REPLACE];
    // What it says goes where ours goes; it outlives us.
    const child = spawn(process.execPath, args, { stdio: 'inherit', detached: true, env: { ...process.env, ...manager.environment() } });
    log.log('info', 'starting the process that is to replace this one', { pid: child.pid });
    const over = (how: string): void => {
      isStarting = false;
      log.log('error', 'the process that was to replace this one has ended; this one serves on', { how });
    };
    child.once('error', error => over(error.message));
    child.once('exit', (code, signal) => over(signal ?? `exit status ${code}`));
    child.unref();
  });
}
