import { parseArgs } from 'node:util';
import { ArenaRegion, createArena, createEngine } from 'uring-engine';
import { ConnectionTable } from '../../../src/transport/connection-table.js';
import { TransportMemory } from '../../../src/transport/memory.js';
import { UnixServer } from '../../../src/transport/unix-server.js';
import { IoOp, type StargatePath } from '../../../src/wire/path.js';
import type { VdiskServing } from '../../../src/wire/serving.js';
import { IoStatus } from '../../../src/wire/status.js';
import { MemoryServing, MemoryStore } from '../memory-serving.js';

/** A process that serves one vdisk from memory at a Unix socket, until it is killed. Prints "ready". */
const { values } = parseArgs({
  options: {
    socket: { type: 'string' },
    engine: { type: 'string' },
    vdisk: { type: 'string' },
    bytes: { type: 'string' },
    lean: { type: 'boolean' },
  },
});

const arena = createArena(128 << 20);
const region = new ArenaRegion(arena);
const engine = createEngine({ arena, kind: values.engine as 'io_uring' | 'libuv' });
const store = new MemoryStore();
store.term = 1;
store.add(values.vdisk!, Number(values.bytes));
const pages = 8_192;
const serving = new MemoryServing({
  engine,
  store,
  base: region.take(pages * 4_096),
  pages,
  random: below => Math.floor(Math.random() * below),
  delayNs: 0,
});
/** `--lean`: answers at once and does nothing, so that a measurement shows the transport alone. */
const lean: VdiskServing = {
  shardOf: () => 0,
  closeSession: (_request, done) => done(),
  openSession(_request, listener) {
    const page = region.take(1 << 20);
    const path: StargatePath = {
      kind: 'same-shard',
      submit(request) {
        if (request.op === IoOp.read) request.data.add(page, request.lengthBytes);
        request.status = IoStatus.ok;
        request.term = 1;
        request.owner.onReply(request);
      },
      release: () => undefined,
      close: () => undefined,
    };
    listener.onOpened(path, { term: 1, sizeBytes: Number(values.bytes) });
  },
};
const table = new ConnectionTable(engine);
const memory = new TransportMemory(region.take(TransportMemory.bytesFor()));
const listener = engine.listen({ family: 'unix', path: values.socket! });
const log = {
  log: (level: string, message: string, fields?: unknown) => process.stderr.write(`${level} ${message} ${JSON.stringify(fields)}\n`),
};
new UnixServer({
  engine,
  table,
  memory,
  software: 'test',
  serving: values.lean === true ? lean : serving,
  shard: 0,
  listener,
  move: () => undefined,
  log,
});
process.stdout.write('ready\n', () => void engine.run());
