import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { dirname } from 'node:path';
import { AllocateMode, type ClientId, type Engine } from 'uring-engine';
import { BLOCK_BYTES, BLOCKS_PER_SEGMENT, type ExtentPort, type LayerFilesOwner, type LayerId, type ReadOwner } from '../core/ports.js';
import { checkExtentFormat, encodeExtentFormat, formatPath, isExtentFormat } from './layout.js';
import { errnoOf } from './errno.js';
import { MAX_EXTENT_LAYER, MAX_EXTENT_OPERATIONS, MAX_OPEN_EXTENT_FILES } from './limits.js';
import { OpenFiles, type ExtentFile } from './open-files.js';
import { LayerRemover } from './layer-remover.js';

type Kind = 'read' | 'write' | 'punch' | 'sync';

/** An operation from its call to its answer; pooled. Its index is its tag. */
class Operation {
  kind: Kind = 'read';
  layer = 0;
  segment = 0;
  fileOffsetBytes = 0;
  lengthBytes = 0;
  arenaOffset = 0;
  owner: ReadOwner | null = null;
  ownerTag = 0;
  file: ExtentFile | null = null;
  result = 0;

  constructor(readonly index: number) {}
}

/** Tag of closings, whose result concerns nobody. Operations have 1 and more. */
const CLOSE_TAG = 0;
const ENOSPC = -constants.errno.ENOSPC;
const EDQUOT = -constants.errno.EDQUOT;
const EOPNOTSUPP = -constants.errno.EOPNOTSUPP;

export interface ExtentStoreOptions {
  readonly openFiles?: number;
}

export interface ExtentStatistics {
  readonly openFiles: number;
  readonly outstanding: number;
}

/**
 * The extents of the layers that one shard serves: sparse files, one for each segment, opened on demand. Nothing is cached here and no
 * state is kept about blocks. Data is O_DIRECT: a completed write is with the device, and on stable storage after `sync`.
 *
 * Crash order of a drain, with what a crash before the step leaves: (1) write: the old data, or any mixture where a write was under way;
 * the log holds it all. (2) sync of data: as before. (3) sync of names: a file without a name; the log holds it all. (4) answer,
 * and with it the block store's commit: from here the store vouches for the data.
 */
export class ExtentStore implements ExtentPort {
  readonly #files: OpenFiles;
  readonly #remover: LayerRemover;
  readonly #client: ClientId;
  readonly #timerClient: ClientId;
  readonly #operations: Operation[] = [];
  readonly #free: Operation[] = [];
  /** Operations whose file could not be opened because all open ones are busy; in order. */
  readonly #waiting: Operation[] = [];
  /** Operations with a result that did not come from the engine: told in the next turn, never inside the call. */
  #ready: Operation[] = [];
  #failure = 0;

  /** Reads or writes the format mark through one scratch page of the arena; throws {@link ExtentError} on a foreign directory. */
  constructor(
    readonly engine: Engine,
    readonly root: string,
    scratchOffset: number,
    options: ExtentStoreOptions = {},
  ) {
    prepareRoot(engine, root, scratchOffset);
    this.#client = engine.register({ onCompletion: (tag, result) => this.#onCompletion(tag, result) });
    this.#timerClient = engine.register({ onCompletion: () => this.#tellReady() });
    this.#files = new OpenFiles(engine, root, options.openFiles ?? MAX_OPEN_EXTENT_FILES, this.#client, CLOSE_TAG);
    this.#remover = new LayerRemover(engine, root, this.#files);
  }

  read(layer: LayerId, segment: number, block: number, blocks: number, arenaOffset: number, owner: ReadOwner, tag: number): void {
    this.#start(this.#operation('read', layer, segment, block, blocks, arenaOffset, owner, tag));
  }

  write(layer: LayerId, segment: number, block: number, blocks: number, arenaOffset: number, owner: ReadOwner, tag: number): void {
    this.#start(this.#operation('write', layer, segment, block, blocks, arenaOffset, owner, tag));
  }

  punch(layer: LayerId, segment: number, block: number, blocks: number, owner: ReadOwner, tag: number): void {
    this.#start(this.#operation('punch', layer, segment, block, blocks, 0, owner, tag));
  }

  sync(layer: LayerId, segment: number, owner: ReadOwner, tag: number): void {
    this.#start(this.#operation('sync', layer, segment, 0, 0, 0, owner, tag));
  }

  removeLayer(layer: LayerId, owner: LayerFilesOwner, tag: number): void {
    this.#remover.remove(layer, owner, tag);
  }

  statistics(): ExtentStatistics {
    return { openFiles: this.#files.size, outstanding: this.#operations.length - this.#free.length };
  }

  #operation(
    kind: Kind,
    layer: number,
    segment: number,
    block: number,
    blocks: number,
    arenaOffset: number,
    owner: ReadOwner,
    tag: number,
  ): Operation {
    assert(block >= 0 && blocks >= 0 && block + blocks <= BLOCKS_PER_SEGMENT, 'an extent operation stays within its segment');
    assert(layer > 0 && layer < MAX_EXTENT_LAYER, `layer ${layer}`);
    let operation = this.#free.pop();
    if (operation === undefined) {
      assert(this.#operations.length < MAX_EXTENT_OPERATIONS, `more than ${MAX_EXTENT_OPERATIONS} extent operations`);
      operation = new Operation(this.#operations.length + 1);
      this.#operations.push(operation);
    }
    operation.kind = kind;
    operation.layer = layer;
    operation.segment = segment;
    operation.fileOffsetBytes = block * BLOCK_BYTES;
    operation.lengthBytes = blocks * BLOCK_BYTES;
    operation.arenaOffset = arenaOffset;
    operation.owner = owner;
    operation.ownerTag = tag;
    operation.result = 0;
    return operation;
  }

  #start(operation: Operation): void {
    if (this.#waiting.length > 0) {
      this.#waiting.push(operation);
      return;
    }
    this.#open(operation);
  }

  /** False: all files are busy. */
  #open(operation: Operation): boolean {
    // Rule 6: after an error nothing more is written, and nothing is said to be durable.
    if (this.#failure !== 0 && operation.kind !== 'read') {
      this.#finishLater(operation, this.#failure);
      return true;
    }
    let opened: ReturnType<OpenFiles['open']>;
    try {
      opened = this.#files.open(operation.layer, operation.segment, operation.kind === 'write');
    } catch (error) {
      const errno = errnoOf(error);
      this.#finishLater(operation, errno === EDQUOT ? ENOSPC : errno);
      return true;
    }
    if (opened === 'busy') {
      this.#waiting.push(operation);
      return false;
    }
    if (opened === 'missing') {
      // Nothing was ever written: a read gives zeroes, a punch and a sync have nothing to do.
      if (operation.kind === 'read') this.engine.arena.bytes.fill(0, operation.arenaOffset, operation.arenaOffset + operation.lengthBytes);
      this.#finishLater(operation, operation.kind === 'read' ? operation.lengthBytes : 0);
      return true;
    }
    operation.file = opened;
    opened.outstanding++;
    this.#submit(operation, opened);
    return true;
  }

  #submit(operation: Operation, file: ExtentFile): void {
    const { engine } = this;
    const { index, arenaOffset, lengthBytes, fileOffsetBytes } = operation;
    switch (operation.kind) {
      case 'read':
        return engine.read(file.slot, arenaOffset, lengthBytes, fileOffsetBytes, this.#client, index);
      case 'write':
        return engine.write(file.slot, arenaOffset, lengthBytes, fileOffsetBytes, 0, this.#client, index);
      case 'punch':
        return engine.allocate(file.slot, AllocateMode.punchHole, fileOffsetBytes, lengthBytes, this.#client, index);
      case 'sync':
        return engine.sync(file.slot, this.#client, index);
    }
  }

  #onCompletion(tag: number, result: number): void {
    if (tag === CLOSE_TAG) return;
    const operation = this.#operations[tag - 1]!;
    operation.file!.outstanding--;
    operation.file = null;
    this.#finish(operation, this.#resultOf(operation, result));
    this.#startWaiting();
  }

  #resultOf(operation: Operation, result: number): number {
    // Space that cannot be given back is no error: what the blocks are is in the block store.
    if (operation.kind === 'punch' && result === EOPNOTSUPP) return 0;
    if (result < 0) {
      // A full disk, or quota, is no broken disk: nothing was lost, and the drain may be tried again when there is room.
      if (operation.kind !== 'read' && (result === ENOSPC || result === EDQUOT)) return ENOSPC;
      if (operation.kind !== 'read') this.#failure = result;
      return result;
    }
    if (operation.kind === 'read' && result < operation.lengthBytes) {
      // Past the end of the file: never written.
      this.engine.arena.bytes.fill(0, operation.arenaOffset + result, operation.arenaOffset + operation.lengthBytes);
      return operation.lengthBytes;
    }
    if (operation.kind === 'sync') return this.#syncNames(operation.layer);
    return result;
  }

  /** The data is durable; now the names that lead to it. */
  #syncNames(layer: number): number {
    if (this.#failure !== 0) return this.#failure;
    try {
      this.#files.syncNames(layer);
      return 0;
    } catch (error) {
      this.#failure = errnoOf(error);
      return this.#failure;
    }
  }

  #finish(operation: Operation, result: number): void {
    const { owner, ownerTag } = operation;
    operation.owner = null;
    this.#free.push(operation);
    owner!.onRead(ownerTag, result);
  }

  #finishLater(operation: Operation, result: number): void {
    operation.result = result;
    this.#ready.push(operation);
    if (this.#ready.length === 1) this.engine.timer(0, this.#timerClient, 0);
  }

  #tellReady(): void {
    const ready = this.#ready;
    this.#ready = [];
    for (const operation of ready) this.#finish(operation, operation.result);
  }

  #startWaiting(): void {
    while (this.#waiting.length > 0) {
      const operation = this.#waiting.shift()!;
      if (!this.#open(operation)) {
        // Back to its place at the head.
        this.#waiting.unshift(this.#waiting.pop()!);
        return;
      }
    }
  }
}

function prepareRoot(engine: Engine, root: string, scratchOffset: number): void {
  const { files, arena } = engine;
  files.makeDirectory(root);
  const path = formatPath(root);
  const empty = files.list(root).every(name => path.endsWith(`/${name}`));
  const page = arena.bytes.subarray(scratchOffset, scratchOffset + BLOCK_BYTES);
  page.fill(0);
  const slot = files.open(path, { write: true, create: true });
  try {
    files.read(slot, scratchOffset, BLOCK_BYTES, 0);
    // New, or a start that lost power before its sync: no layer has been made then.
    if (empty && !isExtentFormat(page)) {
      page.set(encodeExtentFormat());
      files.write(slot, scratchOffset, BLOCK_BYTES, 0);
      files.sync(slot);
    } else checkExtentFormat(page, root);
    // Also those of a former process: nobody knows whether it got to its sync.
    files.syncDirectory(root);
    files.syncDirectory(dirname(root));
  } finally {
    files.close(slot);
  }
}
