import { closeSync } from 'node:fs';
import * as z from 'zod';
import { GatepathError } from '../../base/errors.js';
import type { DatapathState, HandedOverDatapath } from '../../datapath/hand-over.js';
import { HANDOVER_ANSWER_MS, HANDOVER_END_MS, HANDOVER_PAUSE_MS, HANDOVER_START_MS } from '../limits.js';
import { HandoverChannel } from './channel.js';
import { commit, connection, connectionOf, end, helloOf, listener, offer, type Offer } from './messages.js';

const item = z.discriminatedUnion('kind', [listener, connection, end]);

/** The datapath process that serves, as the one sees it that is to replace it. */
export class Predecessor {
  private constructor(
    private readonly channel: HandoverChannel,
    readonly offer: Offer,
  ) {}

  /** Rejects where nobody serves at the path, or refuses. */
  static async meet(socketPath: string, software: string, host: string): Promise<Predecessor> {
    const channel = connect(socketPath);
    try {
      await channel.send(helloOf(software), HANDOVER_ANSWER_MS);
      const offered = await channel.receive(offer, HANDOVER_ANSWER_MS);
      if (offered.host !== host) throw otherHost(offered.host, host);
      return new Predecessor(channel, offered);
    } catch (error) {
      channel.close();
      throw error;
    }
  }

  get state(): DatapathState {
    return this.offer;
  }

  /** All that it served; nobody serves from here on, until {@link commit}, or until the channel closes and it serves on. */
  async take(offersTls: boolean): Promise<HandedOverDatapath> {
    const { channel } = this;
    await channel.send({ kind: 'ready' }, HANDOVER_ANSWER_MS);
    const listeners: HandedOverDatapath['listeners'][number][] = [];
    const connections: HandedOverDatapath['connections'][number][] = [];
    try {
      for (;;) {
        const message = await channel.receive(item, HANDOVER_PAUSE_MS + HANDOVER_ANSWER_MS);
        if (message.kind === 'end') return { listeners, connections, sessions: message.sessions };
        const fd = channel.takeDescriptor();
        // A listener for TLS that this configuration does not have goes with the process before.
        if (message.kind === 'listener' && message.tls !== 'off' && !offersTls) closeSync(fd);
        else if (message.kind === 'listener') listeners.push({ fd, tls: message.tls });
        else connections.push(connectionOf(message, fd));
      }
    } catch (error) {
      for (const { fd } of [...listeners, ...connections]) closeSync(fd);
      throw error;
    }
  }

  /** When it resolves everything is ours; when it rejects, nothing. */
  async commit(): Promise<void> {
    await this.channel.send({ kind: 'taken' }, HANDOVER_ANSWER_MS);
    // No hurry: as long as the other one lives it is about to say so, and whoever gives up first leaves the sockets to it.
    await this.channel.receive(commit, HANDOVER_START_MS);
  }

  /** Resolves when it has let go of its other sockets, or does not within the time. */
  async whenGone(): Promise<void> {
    await this.channel.closed(HANDOVER_END_MS).catch(() => undefined);
    this.close();
  }

  close(): void {
    this.channel.close();
  }
}

function connect(socketPath: string): HandoverChannel {
  try {
    return HandoverChannel.connect(socketPath);
  } catch (cause) {
    const message = `no datapath that could be replaced serves here: ${(cause as Error).message}`;
    throw new GatepathError('invalid', 'ERR_NOTHING_TO_REPLACE', message, 'start it without --replace', { cause });
  }
}

function otherHost(theirs: string, ours: string): GatepathError {
  const message = `the datapath that serves is of the host "${theirs}", and this one would be of "${ours}"`;
  return new GatepathError('invalid', 'ERR_HANDOVER_HOST', message, 'give the same "host" in the configuration; the other one serves on');
}
