import { EventEmitter } from 'node:events';
import { describe, expect, it, vi } from 'vitest';
import { ServiceManager } from '../../../src/main/service/manager.js';
import { Watchdog } from '../../../src/main/service/watchdog.js';

const silent = { log: () => undefined };
const PERIOD_MS = 600;
const until = (check: () => void): Promise<void> => vi.waitFor(check, 30_000);

describe('the environment of a service', () => {
  it.each([
    ['nobody asks', { WATCHDOG_USEC: '3000000' }, null],
    ['no sign of life is asked for', { NOTIFY_SOCKET: '@x' }, null],
    ['one of ours is', { NOTIFY_SOCKET: '@x', WATCHDOG_USEC: '3000000', WATCHDOG_PID: '7' }, 3_000],
    ['one of another process is', { NOTIFY_SOCKET: '@x', WATCHDOG_USEC: '3000000', WATCHDOG_PID: '8' }, null],
    ['whoever follows us is asked', { NOTIFY_SOCKET: '@x', WATCHDOG_USEC: '3000000' }, 3_000],
    ['that is no number', { NOTIFY_SOCKET: '@x', WATCHDOG_USEC: 'soon' }, null],
  ])('%s', (_what, env: Record<string, string>, watchdogMs) => {
    const left = { ...env, OTHER: '1' };
    expect(ServiceManager.take(silent, left, 7).watchdogMs).toBe(watchdogMs);
    expect(left).toEqual({ OTHER: '1' });
  });

  it('goes to the process that may follow, without the number of this one', () => {
    const env = { NOTIFY_SOCKET: '@x', WATCHDOG_USEC: '3000000', WATCHDOG_PID: '7' };
    expect(ServiceManager.take(silent, env, 7).environment()).toEqual({ NOTIFY_SOCKET: '@x', WATCHDOG_USEC: '3000000' });
  });

  it('is told nothing any more after a handover', () => {
    const log = { log: vi.fn() };
    const manager = ServiceManager.take(log, { NOTIFY_SOCKET: '/nobody/there' }, 7);
    manager.handOver(8);
    expect(log.log).toHaveBeenCalledTimes(1);
    manager.stopping();
    expect(log.log).toHaveBeenCalledTimes(1);
  });
});

describe('the watchdog', () => {
  it('gives a sign of life when all shards answer, and names those that do not', async () => {
    const messages = new EventEmitter();
    let hung = -1;
    const shards = {
      count: 3,
      on: (topic: string, listener: (message: unknown, shard: number) => void) => void messages.on(topic, listener),
      send: (shard: number, _topic: string, message: unknown) =>
        void (shard === hung || setImmediate(() => messages.emit('pong', message, shard))),
    };
    const log = { log: vi.fn() };
    const alive = vi.fn();
    const watchdog = new Watchdog(shards, { watchdogMs: PERIOD_MS, alive }, log);
    watchdog.start();
    await until(() => expect(alive.mock.calls.length).toBeGreaterThan(1));
    expect(log.log).not.toHaveBeenCalled();
    hung = 1;
    await until(() => expect(log.log).toHaveBeenCalledWith('error', expect.any(String), { shards: [1], withinMs: PERIOD_MS / 3 }));
    const before = alive.mock.calls.length;
    await until(() => expect(log.log.mock.calls.length).toBeGreaterThan(2));
    expect(alive).toHaveBeenCalledTimes(before);
    hung = -1;
    await until(() => expect(alive.mock.calls.length).toBeGreaterThan(before));
    watchdog.stop();
  });
});
