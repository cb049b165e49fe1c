import type { EtcdEndpoint, EtcdWatchStream, IWatchResponse } from './etcd-endpoint.js';
import { DueHint } from './due-hint.js';
import type { Watch, WatchListener } from './store.js';

const RECONNECT_FIRST_MS = 50;
const RECONNECT_LAST_MS = 1_000;
/** The member is asked for a sign of life so often, and left when it has given none for a few times as long. */
const ASK_EVERY_MS = 1_000;
const SILENT_MS = 3_000;

interface EtcdWatch {
  readonly prefix: string;
  readonly listener: WatchListener;
  /** What is to be told in the loop's next turn. */
  due: DueHint | null;
}

/**
 * All watches of a store, on one stream to one member. A watch begins with "now" (no revision is kept, so that compaction means nothing here) and
 * tells `broken` as soon as it has begun, the first time too. A stream that ends, is silent, or of which etcd takes a watch away (a consumer
 * too slow for the compaction, rights changed) is given up for another one, to the next member.
 */
export class EtcdWatches {
  readonly #watches = new Map<number, EtcdWatch>();
  #lastId = 0;
  #next = 0;
  #waitMs = RECONNECT_FIRST_MS;
  /** Of the stream that counts: what comes from an older one is not listened to. */
  #epoch = 0;
  #stream: EtcdWatchStream | null = null;
  #heardAtMs = 0;
  #retry: NodeJS.Timeout | null = null;
  #pulse: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(
    private readonly endpoints: readonly EtcdEndpoint[],
    private readonly rangeOf: (prefix: string) => { readonly key: Buffer; readonly range_end: Buffer },
    /** Of a key in etcd: that of the store. */
    private readonly keyOf: (key: Buffer) => string,
  ) {}

  add(prefix: string, listener: WatchListener): Watch {
    const id = ++this.#lastId;
    this.#watches.set(id, { prefix, listener, due: null });
    if (this.#stream !== null) this.#create(id, prefix);
    else if (this.#pulse === null && this.#retry === null && !this.#closed) this.#open();
    return {
      close: () => {
        if (!this.#watches.delete(id)) return;
        this.#stream?.write({ cancel_request: { watch_id: id } });
        if (this.#watches.size === 0) this.#drop();
      },
    };
  }

  close(): void {
    this.#closed = true;
    this.#watches.clear();
    this.#drop();
  }

  #open(): void {
    const epoch = ++this.#epoch;
    const endpoint = this.endpoints[this.#next++ % this.endpoints.length]!;
    this.#heardAtMs = performance.now();
    this.#pulse = setInterval(() => this.#check(), ASK_EVERY_MS);
    endpoint.watch().then(
      stream => this.#begin(epoch, stream),
      () => this.#lost(epoch),
    );
  }

  #begin(epoch: number, stream: EtcdWatchStream): void {
    stream.on('data', response => {
      if (epoch === this.#epoch) this.#onResponse(response);
    });
    stream.on('error', () => this.#lost(epoch));
    stream.on('end', () => this.#lost(epoch));
    if (epoch !== this.#epoch) {
      stream.cancel();
      return;
    }
    this.#stream = stream;
    for (const [id, { prefix }] of this.#watches) this.#create(id, prefix);
  }

  #create(id: number, prefix: string): void {
    this.#stream!.write({ create_request: { ...this.rangeOf(prefix), watch_id: id } });
  }

  #onResponse(response: IWatchResponse): void {
    this.#heardAtMs = performance.now();
    const watch = this.#watches.get(Number(response.watch_id));
    if (response.canceled && (watch !== undefined || response.created)) {
      this.#lost(this.#epoch);
    } else if (watch !== undefined && response.created) {
      this.#waitMs = RECONNECT_FIRST_MS;
      this.#tell(watch).broke();
    } else if (watch !== undefined && response.events.length > 0) {
      const due = this.#tell(watch);
      for (const { kv } of response.events) due.changed(this.keyOf(kv.key));
    }
  }

  /** In the loop's next turn. */
  #tell(watch: EtcdWatch): DueHint {
    return (watch.due ??= new DueHint(hint => {
      watch.due = null;
      if ([...this.#watches.values()].includes(watch)) watch.listener(hint);
    }));
  }

  #check(): void {
    if (performance.now() - this.#heardAtMs > SILENT_MS) this.#lost(this.#epoch);
    else this.#stream?.write({ progress_request: {} });
  }

  #lost(epoch: number): void {
    if (epoch !== this.#epoch) return;
    this.#drop();
    if (this.#closed || this.#watches.size === 0) return;
    this.#retry = setTimeout(() => {
      this.#retry = null;
      this.#open();
    }, this.#waitMs);
    this.#waitMs = Math.min(2 * this.#waitMs, RECONNECT_LAST_MS);
  }

  #drop(): void {
    this.#epoch++;
    if (this.#pulse !== null) clearInterval(this.#pulse);
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#pulse = this.#retry = null;
    this.#stream?.cancel();
    this.#stream = null;
  }
}
