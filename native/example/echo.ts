import { createArena, createEngine, Gather, MAX_SLOTS } from 'uring-engine';

// npx tsx example/echo.ts /tmp/echo.sock      then: socat - UNIX-CONNECT:/tmp/echo.sock
const BYTES = 4096;
const arena = createArena(MAX_SLOTS * BYTES); // memory comes as it is touched
const engine = createEngine({ arena, onFallback: reason => console.error(`libuv, not io_uring: ${reason}`) });
const listener = engine.listen({ family: 'unix', path: process.argv[2] ?? 'echo.sock' });
const gather = new Gather(1);

// One client for each kind of operation; the tag is the slot, whose buffer lies at slot * BYTES.
const receive = (slot: number): void => engine.recv(slot, slot * BYTES, BYTES, 0, received, slot);
const close = (slot: number): void => engine.close(slot, closed, slot);
const closed = engine.register({ onCompletion: () => undefined });
const sent = engine.register({ onCompletion: (slot, result) => (result < 0 ? close(slot) : receive(slot)) });
const received = engine.register({
  onCompletion: (slot, bytes) => {
    if (bytes <= 0) return close(slot);
    gather.clear();
    gather.add(slot * BYTES, bytes);
    engine.send(slot, gather, 0, sent, slot);
  },
});
const accepted = engine.register({
  onCompletion: (_tag, slot) => {
    if (slot >= 0) receive(slot);
    engine.accept(listener, accepted, 0);
  },
});
engine.accept(listener, accepted, 0);
console.log('listening');
await engine.run();
