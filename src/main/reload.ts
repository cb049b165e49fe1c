import type { Logger } from '../base/log.js';
import type { ServiceManager } from './service/manager.js';

/** What a process reads of its configuration again, and who takes it. */
export interface Reloadable<T extends object> {
  readonly load: () => T;
  /** By key: takes the new value on. */
  readonly take: Partial<Record<keyof T & string, (config: T) => void | Promise<void>>>;
  readonly manager: ServiceManager;
  /** What the process does, for the manager. */
  readonly status: string;
}

/**
 * On SIGHUP the configuration is read again: what can be taken on while the process runs is, of the rest the log says that it needs a restart. One that is not valid
 * changes nothing.
 */
export function reloadOnSignal<T extends object>(current: T, { load, take, manager, status }: Reloadable<T>, log: Logger): void {
  let known = current;
  let running: Promise<void> = Promise.resolve();
  const reload = async (): Promise<void> => {
    manager.reloading();
    try {
      const next = load();
      const keys = changedKeys(known, next);
      for (const key of keys) await take[key]?.(next);
      const taken = keys.filter(key => take[key] !== undefined);
      const left = keys.filter(key => take[key] === undefined);
      // What needs a restart is told again each time, until it is as the process runs.
      known = { ...known, ...Object.fromEntries(taken.map(key => [key, next[key]])) };
      log.log('info', 'the configuration was read again', { changed: taken });
      if (left.length > 0) log.log('warn', 'these changes of the configuration take effect at the next start', { keys: left });
      manager.ready(left.length > 0 ? `${status}; at the next start: ${left.join(', ')}` : status);
    } catch (error) {
      const { message } = error as Error;
      log.log('error', 'the configuration was read again, and is not used', { error: message });
      manager.ready(`${status}; the configuration that was read again is not used: ${message}`);
    }
  };
  process.on('SIGHUP', () => void (running = running.then(reload)));
}

export function changedKeys<T extends object>(before: T, after: T): (keyof T & string)[] {
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof T & string>;
  return [...keys].filter(key => JSON.stringify(before[key]) !== JSON.stringify(after[key]));
}
