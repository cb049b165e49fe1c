import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads';
import { wake, type ArenaRegion, type Engine, type WakeHandle } from 'uring-engine';
import type { EventSink } from '../base/events.js';
import type { Logger, LogLevel } from '../base/log.js';
import { createProbes, type Probes } from '../base/probe.js';
import { Mailbox } from './mailbox.js';

/**
 * What a part (datapath, Stargate) gets of the shard it lives in. While the shard blocks in its ring, Node's event loop does not
 * run: no promise resolves and no timer of Node fires. Parts use the engine's completions, timers and wakes.
 */
export interface ShardContext {
  readonly index: number;
  readonly count: number;
  readonly engine: Engine;
  /** This shard's part of the arena; parts allocate from it at start. */
  readonly region: ArenaRegion;
  readonly mailbox: Mailbox;
  readonly probes: Probes;
  readonly log: Logger;
  /** Into the ring of the process. */
  readonly events: EventSink;
  /** Sends structured data to another shard (`to` >= 0) or to the main thread (`MAIN`). For rare things: moving a connection, attach, status. */
  send(to: number, topic: string, message: unknown): void;
  /** One listener per topic; `from` is a shard's index or MAIN. */
  onMessage(topic: string, listener: (message: unknown, from: number) => void): void;
}

/** What a thread says that has loaded the worker file: Piscina tells only that there is one. */
export const CODE_LOADED = 'code-loaded';

export const MAIN = -1;

interface Envelope {
  readonly topic: string;
  readonly message: unknown;
}

/** The ports of one shard: to the main thread and to each other shard (null to itself). */
export interface ShardPorts {
  readonly main: MessagePort;
  readonly shards: readonly (MessagePort | null)[];
}

export interface ShardContextParts {
  readonly index: number;
  readonly engine: Engine;
  readonly region: ArenaRegion;
  readonly ports: ShardPorts;
  readonly mailboxes: readonly (readonly (SharedArrayBuffer | null)[])[];
  readonly wakeHandles: readonly WakeHandle[];
  /** Of the probes: shared with the main thread. */
  readonly probes: SharedArrayBuffer;
}

export function createShardContext(parts: ShardContextParts): ShardContext {
  const { index, engine, region, ports, wakeHandles } = parts;
  const listeners = new Map<string, (message: unknown, from: number) => void>();
  const send = (to: number, topic: string, message: unknown): void => {
    const envelope: Envelope = { topic, message };
    if (to === MAIN) {
      ports.main.postMessage(envelope);
      return;
    }
    ports.shards[to]!.postMessage(envelope);
    wake(wakeHandles[to]!);
  };
  const deliver = (port: MessagePort, from: number): void => {
    for (let received = receiveMessageOnPort(port); received !== undefined; received = receiveMessageOnPort(port)) {
      const envelope = received.message as Envelope;
      const listener = listeners.get(envelope.topic);
      if (listener === undefined) throw new Error(`shard ${index}: nobody listens to "${envelope.topic}"`);
      listener(envelope.message, from);
    }
  };
  engine.onWake(() => {
    deliver(ports.main, MAIN);
    ports.shards.forEach((port, from) => port !== null && deliver(port, from));
  });
  return {
    index,
    count: wakeHandles.length,
    engine,
    region,
    mailbox: new Mailbox(engine, index, parts.mailboxes, wakeHandles),
    probes: createProbes(parts.probes),
    log: { log: (level: LogLevel, message, fields) => send(MAIN, 'log', { level, message, fields: { shard: index, ...fields } }) },
    events: { emit: event => send(MAIN, 'event', event) },
    send,
    onMessage(topic, listener) {
      if (listeners.has(topic)) throw new Error(`"${topic}" has a listener already`);
      listeners.set(topic, listener);
    },
  };
}
