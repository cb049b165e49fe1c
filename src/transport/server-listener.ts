import type { Slot } from 'uring-engine';
import type { Logger } from '../base/log.js';
import { Operation, type ConnectionTable, type TableEntry } from './connection-table.js';

/** When accepting fails (no descriptors left): try again then. */
const ACCEPT_RETRY_NS = 100e6;

/** A listening socket of a shard: tells each connection, one after the other. */
export class ServerListener implements TableEntry {
  readonly #index: number;
  #isClosed = false;

  constructor(
    private readonly table: ConnectionTable,
    private readonly slot: Slot,
    private readonly log: Logger,
    private readonly onAccepted: (connection: Slot) => void,
  ) {
    this.#index = table.add(this);
    this.#accept();
  }

  close(): void {
    const { engine, client } = this.table;
    this.#isClosed = true;
    engine.close(this.slot, client, this.table.tag(this.#index, Operation.close));
  }

  onCompletion(operation: number, result: number): void {
    if (operation === Operation.accept) this.#onAccepted(result);
    else if (operation === Operation.timer && !this.#isClosed) this.#accept();
  }

  onTurnEnd(): void {
    // Never touched.
  }

  #onAccepted(result: number): void {
    const { engine, client } = this.table;
    const tag = this.table.tag(this.#index, Operation.timer);
    if (result >= 0 && this.#isClosed) engine.close(result, client, this.table.tag(this.#index, Operation.close));
    else if (result >= 0) {
      this.onAccepted(result);
      this.#accept();
    } else if (!this.#isClosed) {
      this.log.log('warn', 'accepting a connection to the Stargate socket failed; trying again', { errno: -result });
      engine.timer(ACCEPT_RETRY_NS, client, tag);
    }
  }

  #accept(): void {
    const { engine, client } = this.table;
    engine.accept(this.slot, client, this.table.tag(this.#index, Operation.accept));
  }
}
