import { Gather } from 'uring-engine';
import { createSessionProbes } from '../../src/base/probe.js';
import { SharedTermFloor } from '../../src/datapath/floor.js';
import { backOffMs } from '../../src/datapath/paths.js';
import { Session } from '../../src/datapath/session.js';
import type { StargatePath } from '../../src/wire/path.js';
import type { Client, ClientPaths } from './client.js';
import { Direct } from './direct.js';
import { Link, type Connection, type LinkListener } from './link.js';
import type { SimNode } from './node.js';

/** There is one node, and one connection to it at a time. */
export class OnePath implements ClientPaths {
  readonly session: Session;
  #connection: Connection | null = null;

  constructor(
    readonly client: Client,
    readonly node: SimNode,
    floor: SharedArrayBuffer,
    readonly isDirect: boolean,
  ) {
    const { clock } = client.world;
    this.session = new Session(
      {
        openPath: epoch => this.#openPath(epoch),
        abandonPath: () => this.#connection?.close(),
        startRetry: (epoch, failures) =>
          void clock.after(backOffMs(1 + failures) * 1e6, () => {
            if (!client.isDead) this.session.retry(epoch);
          }),
        endSession: () => undefined,
        accuse: () => undefined,
        nowNs: () => clock.nowNs,
        floor: new SharedTermFloor(floor),
        openProbes: createSessionProbes,
      },
      new Gather(1),
    );
  }

  enter(call: () => void): void {
    if (this.#connection === null) call();
    else this.#connection.enter(call);
  }

  cut(): void {
    this.#connection?.cut();
  }

  stall(forNs: number): void {
    this.#connection?.stall(forNs);
  }

  close(): void {
    this.#connection?.close();
  }

  nodeGone(): void {
    if (!this.client.isDead) this.#connection?.nodeGone();
  }

  #openPath(epoch: number): void {
    const { client, session } = this;
    const { clock, memory } = client.world;
    const alive = (call: () => void): void => {
      if (!client.isDead) call();
    };
    const listener: LinkListener = {
      onOpened: (path: StargatePath, { term }) =>
        alive(() => {
          const before = session.counters.replayed;
          session.opened(epoch, path, term);
          client.opened(term, session.counters.replayed - before);
        }),
      onRefused: reason => alive(() => session.refused(epoch, reason)),
      onEnded: reason =>
        alive(() => {
          client.lost();
          session.pathEnded(epoch, reason);
        }),
    };
    this.#connection = this.isDirect
      ? new Direct(clock, this.node, client.identity, listener)
      : new Link(clock, memory, this.node, client.identity, listener);
  }
}
