import { chmodSync, closeSync } from 'node:fs';
import type { z } from 'zod';
import { createServer, type Server, type Socket } from 'node:net';
import { DescriptorChannel } from 'uring-engine';
import { GatepathError } from '../../base/errors.js';
import type { Logger } from '../../base/log.js';
import type { HandedOverDatapath } from '../../datapath/hand-over.js';
import type { DatapathMain } from '../../datapath/main.js';
import { HANDOVER_ANSWER_MS, HANDOVER_PAUSE_MS, HANDOVER_START_MS } from '../limits.js';
import { HandoverChannel } from './channel.js';
import { connectionMessage, hello, HANDOVER_VERSION, ready, taken, type Message } from './messages.js';

export interface GiverOptions {
  readonly socketPath: string;
  readonly software: string;
  readonly host: string;
  readonly datapathUuid: string;
  readonly datapath: Pick<DatapathMain, 'state' | 'handOver' | 'takeOver'>;
  readonly log: Logger;
  /** Everything is the next process's: this one is to end, and to leave the NBD socket's file alone. The channel closes with `close`. `pid`: the next one, where it says so. */
  readonly onHandedOver: (pid: number | null) => void;
}

/** Offers what this datapath process serves to the one that is to replace it. Until the very end, nothing that goes wrong changes anything here. */
export class HandoverGiver {
  readonly #server: Server;
  #channel: HandoverChannel | null = null;
  #isHandedOver = false;
  #closed = false;

  constructor(private readonly options: GiverOptions) {
    this.#server = createServer({ pauseOnConnect: true }, socket => void this.#onConnection(socket));
  }

  /** The way has to be free: no file is there. */
  async listen(): Promise<void> {
    const { socketPath } = this.options;
    await new Promise<void>((resolve, reject) => this.#server.once('error', reject).listen(socketPath, resolve));
    chmodSync(socketPath, 0o600);
  }

  get isHandedOver(): boolean {
    return this.#isHandedOver;
  }

  close(): void {
    this.#closed = true;
    this.#server.close();
    this.#channel?.close();
  }

  async #onConnection(socket: Socket): Promise<void> {
    const { log } = this.options;
    const channel = new HandoverChannel(DescriptorChannel.takeOver(socket));
    const isFree = this.#channel === null && !this.#isHandedOver && !this.#closed;
    if (isFree) this.#channel = channel;
    try {
      const greeting = await channel.receive(hello, HANDOVER_ANSWER_MS);
      if (!isFree) await refuse(channel, BUSY);
      await this.#serve(channel, greeting);
      this.#isHandedOver = true;
      log.log('info', 'handed over to the next datapath process; this one ends');
      this.options.onHandedOver(greeting.pid ?? null);
    } catch (error) {
      const { code, message } = error as GatepathError;
      if (!this.#closed) log.log('warn', 'no other datapath process has taken over; this one serves on', { code, error: message });
    } finally {
      // Its end tells the next one that this process has let go of everything: not before `close`.
      if (!(isFree && this.#isHandedOver)) channel.close();
      if (isFree && !this.#isHandedOver) this.#channel = null;
    }
  }

  async #serve(channel: HandoverChannel, greeting: z.infer<typeof hello>): Promise<void> {
    const { software, host, datapathUuid, datapath, log } = this.options;
    if (greeting.version !== HANDOVER_VERSION) await refuse(channel, wrongVersion(greeting.version, greeting.software, software));
    log.log('info', 'another datapath process is to take over', { software: greeting.software });
    const offer: Message = {
      kind: 'offer',
      version: HANDOVER_VERSION,
      software,
      pid: process.pid,
      host,
      datapathUuid,
      attachments: [...datapath.state.attachments],
      floors: datapath.state.floors,
    };
    await channel.send(offer, HANDOVER_ANSWER_MS);
    await channel.receive(ready, HANDOVER_START_MS);
    const handed = await datapath.handOver(HANDOVER_PAUSE_MS).catch((cause: unknown) => refuse(channel, notInTime(cause as Error)));
    try {
      await pass(channel, handed);
      await channel.receive(taken, HANDOVER_ANSWER_MS);
      await channel.send({ kind: 'commit' }, HANDOVER_ANSWER_MS);
    } catch (error) {
      datapath.takeOver(handed, true);
      throw error;
    }
    for (const { fd } of handed.connections) closeSync(fd);
    for (const { fd } of handed.listeners) closeSync(fd);
  }
}

async function pass(channel: HandoverChannel, { listeners, connections, sessions }: HandedOverDatapath): Promise<void> {
  for (const { fd, tls } of listeners) await channel.send({ kind: 'listener', tls }, HANDOVER_ANSWER_MS, fd);
  for (const one of connections) await channel.send(connectionMessage(one), HANDOVER_ANSWER_MS, one.fd);
  await channel.send({ kind: 'end', sessions: [...sessions] }, HANDOVER_ANSWER_MS);
}

/** Tells the other process why, and throws it. */
async function refuse(channel: HandoverChannel, error: GatepathError): Promise<never> {
  const { code, message, action } = error;
  await channel.send({ kind: 'refused', code, message, action }, HANDOVER_ANSWER_MS);
  throw error;
}

const SERVES_ON = 'the datapath that served serves on';
const BUSY = new GatepathError('retryable', 'ERR_HANDOVER_BUSY', 'the datapath is being replaced already', `${SERVES_ON}; try again later`);

function wrongVersion(version: number, theirs: string, ours: string): GatepathError {
  const message = `hand-over version ${version} (${theirs}) is not known to the datapath that serves, which speaks ${HANDOVER_VERSION} (${ours})`;
  return new GatepathError(
    'invalid',
    'ERR_HANDOVER_VERSION',
    message,
    `${SERVES_ON}; stop it and start the new one, or go over a version between`,
  );
}

function notInTime(cause: Error): GatepathError {
  return new GatepathError('retryable', 'ERR_HANDOVER_PENDING', cause.message, `${SERVES_ON}; try again when its vdisks have a path`, {
    cause,
  });
}
