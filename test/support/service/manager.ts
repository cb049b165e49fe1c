import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { TestProcess } from '../process.js';
import { waitFor } from '../wait.js';

const IO_URING_ENTER = '426';
const WAIT_MS = 60_000;
const script = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

export interface Told {
  /** Who has sent it. */
  readonly pid: number;
  /** `NAME=value`, a line each. */
  readonly text: string;
}

/** What a service manager hears of its services: a real datagram socket, in a process of its own. */
export class NotifyReceiver {
  private constructor(
    readonly socket: string,
    readonly process: TestProcess,
  ) {}

  /** `socket`: a path, or `@name`. */
  static async start(socket: string): Promise<NotifyReceiver> {
    const receiver = new NotifyReceiver(socket, TestProcess.start(['python3', script('receiver.py'), socket]));
    await receiver.next('listening');
    return receiver;
  }

  get all(): readonly Told[] {
    const lines = this.process.stdout.split('\n').slice(0, -1);
    return lines.map(line => JSON.parse(line) as Told);
  }

  /** The first message with that text in it, of those from the `from`th on. */
  next(text: string, from = 0): Promise<Told> {
    return this.process.waitUntil(`a message with ${text}`, WAIT_MS, () => this.all.slice(from).find(told => told.text.includes(text)));
  }

  stop(): Promise<void> {
    return this.process.kill();
  }
}

/** The threads of a process that wait in their rings: its shards. */
export async function shardThreads(pid: number, count: number): Promise<readonly number[]> {
  const of = (tid: string, what: string): string => readFileSync(`/proc/${pid}/task/${tid}/${what}`, 'utf8');
  // The kernel's own helpers of a ring seem to wait in it, too; they come and go.
  const waiting = (tid: string): boolean => of(tid, 'syscall').startsWith(`${IO_URING_ENTER} `) && !of(tid, 'comm').startsWith('iou-');
  return waitFor('the shards wait in their rings', WAIT_MS, () => {
    const found = readdirSync(`/proc/${pid}/task`).filter(orGone(waiting)).map(Number);
    return found.length === count && found;
  });
}

/** A thread may end while its files are read. */
const orGone =
  (test: (tid: string) => boolean) =>
  (tid: string): boolean => {
    try {
      return test(tid);
    } catch {
      return false;
    }
  };

/** Stops one thread, and nothing else of its process; gives what lets it go on. */
export async function stopThread(tid: number): Promise<() => Promise<void>> {
  const stopper = TestProcess.start(['python3', script('stop-thread.py'), String(tid)], { holdStdin: true });
  await stopper.waitUntil('the thread is stopped', WAIT_MS, () => stopper.stdout.includes('stopped'));
  // The system lets go of the thread of a tracer that is gone.
  return () => stopper.kill();
}
