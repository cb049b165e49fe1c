import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { ArenaRegion, createArena, createEngine } from 'uring-engine';
import {
  ExportMap,
  FILE_EXPORT_REGION_BYTES,
  FileExport,
  MemoryExport,
  NbdServer,
  serverRegionBytes,
  DEFAULT_LIMITS,
  TlsThread,
  type Export,
  type MovedConnection,
} from '../../src/index.js';
import { HugeExport } from './huge-export.js';
import { GatedExport } from './gated-export.js';
import type { Command, ServerSetup, Status } from './setup.js';

// One server on a thread of its own, told what to do by messages (setup.ts): the thread blocks in its ring.

const setup = workerData as ServerSetup;
const port = parentPort!;
const limits = { ...DEFAULT_LIMITS, maxConnections: 16, ...setup.limits };
const sizes = setup.memory.reduce((sum, one) => sum + (one.maxSizeBytes ?? one.sizeBytes) + 4096, 0);
const byteLength = serverRegionBytes(limits) + sizes + setup.files.length * (FILE_EXPORT_REGION_BYTES + 4096) + (4 << 20);
const arena = createArena(Math.ceil(byteLength / (2 << 20)) * (2 << 20));
const engine = createEngine({ arena, kind: setup.engine });
const region = new ArenaRegion(arena);

const gates = new Map<string, GatedExport>();
const exports = new ExportMap();
for (const options of setup.memory) {
  const memory = new MemoryExport(arena, region, options);
  const gate = new GatedExport(memory);
  gates.set(options.name, gate);
  // Not gated where speed or the export itself is what is looked at.
  exports.add(setup.gated === true ? gate : memory);
}
for (const options of setup.files) exports.add(new FileExport(engine, region, options) satisfies Export);

let hugeTurn = (): void => undefined;
const hugeClient = engine.register({ onCompletion: () => hugeTurn() });
const huge = new HugeExport(turn => {
  hugeTurn = turn;
  engine.timer(0, hugeClient, 0);
});
if (setup.hugeFailFrom !== undefined) {
  exports.add(huge);
  huge.failFrom = setup.hugeFailFrom;
}
const terminator = setup.tls === undefined ? null : new TlsThread(setup.tls.credentials);
const probed = { received: 0, replied: 0 };
const server = new NbdServer({
  engine,
  region,
  exports,
  limits,
  ...(terminator === null ? {} : { tls: { mode: setup.tls!.mode, terminator } }),
  ...(setup.offerList === undefined ? {} : { offerList: setup.offerList }),
  log: (level, message, fields) => port.postMessage({ kind: 'log', line: `${level} ${message} ${JSON.stringify(fields)}` }),
  probes: {
    onReceived: count => (probed.received += count),
    onWaited: () => undefined,
    onReplied: (_replies, bytes) => (probed.replied += bytes),
    onSent: () => undefined,
  },
  ...(setup.moveAll === true ? { onTransmission: () => (moved: MovedConnection) => port.postMessage({ kind: 'moved', moved }) } : {}),
});

function status(): Status {
  const gate = gates.values().next().value;
  return {
    counters: structuredClone({ ...server.counters }),
    waiting: gate?.waiting.length ?? 0,
    sessionsOpen: gate?.sessionsOpen ?? 0,
    probed: { ...probed },
    outstanding: engine.outstanding,
    asked: huge.asked,
    mostAtOnce: huge.mostAtOnce,
  };
}

function carryOut(command: Command): void {
  const gate = gates.values().next().value;
  if (command.kind === 'gate') gate!.open_ = command.open;
  else if (command.kind === 'let') gate!.let(command.count, command.newestFirst);
  else if (command.kind === 'fail') Object.assign(gate!, { failFrom: command.from ?? Infinity, failErrno: command.errno });
  else if (command.kind === 'adopt') server.adoptNegotiated(command.moved.fd, command.moved.negotiated, command.moved.leftover);
  else if (command.kind === 'standStill') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, command.ms);
  else if (command.kind === 'disconnect') server.disconnect(command.name);
  else if (command.kind === 'handOver')
    server.handOver(command.deadlineMs, (handed, problem) => port.postMessage({ kind: 'handed', handed, problem }));
  else if (command.kind === 'takeBack') server.takeBack(command.handed);
  else if (command.kind === 'close') server.close(() => port.postMessage({ kind: 'closed' }), command.options);
  else if (command.kind === 'stop') engine.stop();
  port.postMessage({ kind: 'done', status: status() });
}

engine.onWake(() => {
  for (let received = receiveMessageOnPort(port); received !== undefined; received = receiveMessageOnPort(port))
    carryOut(received.message as Command);
});
const address = setup.address ?? null;
if (address !== null) {
  const listener = engine.listen(address);
  server.listen(listener);
  port.postMessage({ kind: 'ready', wakeHandle: engine.wakeHandle, address: engine.localAddress(listener), engine: engine.kind });
} else port.postMessage({ kind: 'ready', wakeHandle: engine.wakeHandle, address: null, engine: engine.kind });
await engine.run();
engine.destroy();
process.exit();
