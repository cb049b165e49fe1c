import { describe, expect, it } from 'vitest';
import { Blocker } from '../../src/wire/path.js';
import { FailoverWorld } from './failover-world.js';

/** The bounds are those of replication's pause table; the takeover itself is the Stargates' part, and its time is played. */
describe.each([1, 2, 3])('a session over three nodes (seed %d)', seed => {
  const settled = (world: FailoverWorld): void => {
    world.network.run(() => world.underWay === 0, 'all answers');
    expect(world.violations).toEqual([]);
    expect(world.failures).toEqual([]);
  };

  it('uses the controller of the group record, and asks nobody else', () => {
    const world = new FailoverWorld(seed);
    world.tellGroup('A', 2);
    world.load(1_000);
    expect([world.session.node, world.session.term, world.session.session.counters.lost]).toEqual(['A', 1, 0]);
    expect(world.takeGapMs()).toBeLessThan(20);
    expect(world.lines).toEqual([]);
    settled(world);
  });

  it('goes on within 250 ms after the controller is killed and a member needs 100 ms to take over', () => {
    const world = new FailoverWorld(seed);
    const { A, B } = world.nodes;
    const kill = (): void => {
      world.burst();
      world.network.pass(0.1);
      A.engine.kill();
    };
    world.load(2_000, { 500: kill, 600: () => B.takeOver() });
    expect(world.session.node).toBe('B');
    expect(world.takeGapMs()).toBeLessThan(250);
    expect(world.session.session.counters.replayed).toBeGreaterThan(0);
    settled(world);
  });

  it('goes on within 1.5 s after the controller hangs and a member takes over when it has found out, by itself', () => {
    const world = new FailoverWorld(seed);
    const { A, C } = world.nodes;
    world.load(4_000, { 500: () => (A.engine.hung = true), 1_250: () => C.takeOver(), 3_000: () => (A.engine.hung = false) });
    expect(world.session.node).toBe('C');
    const gapMs = world.takeGapMs();
    expect(gapMs).toBeGreaterThan(950);
    expect(gapMs).toBeLessThan(1_500);
    expect(world.nodes.C.serving.left).toContain('A');
    settled(world);
  });

  it('is not held up by a second node that hangs, either', () => {
    const world = new FailoverWorld(seed);
    const { A, B, C } = world.nodes;
    world.load(4_000, {
      400: () => (B.engine.hung = true),
      500: () => A.engine.kill(),
      600: () => C.takeOver(),
    });
    expect(world.session.node).toBe('C');
    // HEDGE_AFTER_MS for the one that hangs.
    expect(world.takeGapMs()).toBeLessThan(500);
    settled(world);
  });

  it('follows a planned handover within 50 ms', () => {
    const world = new FailoverWorld(seed);
    const { A, B } = world.nodes;
    world.load(1_000, {
      500: () => {
        B.takeOver();
        A.stepDown('B');
        A.engine.poke();
      },
    });
    expect([world.session.node, world.session.term]).toEqual(['B', 2]);
    expect(world.takeGapMs()).toBeLessThan(50);
    expect(world.lines.filter(line => line.startsWith('warn'))).toEqual([]);
    settled(world);
  });

  it('waits while all are gone, fails nothing, and goes on within 1 s when the first is back', () => {
    const world = new FailoverWorld(seed);
    const { A, B, C } = world.nodes;
    world.load(200);
    for (const node of [A, B, C]) node.engine.kill();
    world.load(5_000);
    expect(world.failures).toEqual([]);
    expect(world.session.session.state.kind).toBe('opening');
    C.start(null);
    C.takeOver();
    const before = world.done;
    const fromNs = world.network.nowNs;
    world.network.run(() => world.done > before, 'an answer');
    expect((world.network.nowNs - fromNs) / 1e6).toBeLessThan(1_000);
    settled(world);
  });

  it('leaves a controller whose term is below what it has seen, and takes no answer from it', () => {
    const world = new FailoverWorld(seed);
    const { A, B, C } = world.nodes;
    world.term = 4;
    A.takeOver();
    world.load(200);
    // It has not heard of term 5 and thinks that it serves.
    B.store.term = 3;
    B.serving.controller = null;
    world.load(2_000, { 100: () => A.engine.kill(), 200: () => C.takeOver() });
    expect([world.session.node, world.session.term]).toEqual(['C', 6]);
    expect(world.session.session.counters.belowFloor).toBeGreaterThan(0);
    expect(world.takeGapMs()).toBeLessThan(400);
    settled(world);
  });

  it.each([
    ['its own disk', Blocker.itself],
    ['other members', Blocker.member],
  ])('leaves a controller that is held up by %s, for a member that it tells so; and comes back seldom', (what, blocker) => {
    const world = new FailoverWorld(seed);
    const { A, B } = world.nodes;
    world.load(300);
    A.serving.blocker = blocker;
    A.serving.onCompletion = () => undefined;
    world.load(3_000, { 1_000: () => B.takeOver() });
    expect(B.serving.left).toContain('A');
    expect(world.session.node).toBe('B');
    expect(world.lines.some(line => line.includes(`held up by ${what}`))).toBe(true);
    expect(world.session.session.counters.lost).toBeLessThanOrEqual(2);
    settled(world);
  });

  it('asks for the vdisk when the local Stargate was well for 10 s, and later and later while it does not stay', () => {
    const world = new FailoverWorld(seed, 10_000);
    const { A, B } = world.nodes;
    const fail = (): void => {
      world.load(500, { 100: () => A.engine.kill(), 150: () => B.takeOver() });
      expect(world.session.node).toBe('B');
      A.start('B');
      B.serving.handovers.length = 0;
    };
    fail();
    world.idle(9_500);
    expect(B.serving.handovers).toEqual([]);
    world.idle(2_500);
    expect(B.serving.handovers).toEqual([`${world.vdiskId} A`]);
    A.takeOver();
    B.stepDown('A');
    B.engine.poke();
    world.takeGapMs();
    world.load(500);
    expect(world.session.node).toBe('A');
    expect(world.takeGapMs()).toBeLessThan(50);
    // It does not last: the second time it takes twice as long.
    B.serving.controller = 'A';
    fail();
    world.idle(15_000);
    expect(B.serving.handovers).toEqual([]);
    world.idle(8_000);
    expect(B.serving.handovers.length).toBe(1);
    settled(world);
  });

  it('asks for the vdisk only when the local node is a member again', () => {
    const world = new FailoverWorld(seed, 1_000);
    const { A, B } = world.nodes;
    world.load(500, { 100: () => A.engine.kill(), 130: () => world.tellGroup('B', 2, ['B', 'C']), 150: () => B.takeOver() });
    A.start('B');
    world.idle(5_000);
    expect(B.serving.handovers).toEqual([]);
    world.tellGroup('B', 3, ['B', 'C', 'A']);
    world.idle(4_000);
    expect(B.serving.handovers.length).toBeGreaterThan(0);
  });

  it('does not ask a local Stargate back that is not well', () => {
    const world = new FailoverWorld(seed, 1_000);
    const { A, B } = world.nodes;
    world.load(500, { 100: () => A.engine.kill(), 150: () => B.takeOver() });
    world.idle(5_000);
    expect(B.serving.handovers).toEqual([]);
    A.start('B');
    A.engine.hung = true;
    world.idle(8_000);
    expect(B.serving.handovers).toEqual([]);
    A.engine.hung = false;
    world.idle(4_000);
    expect(B.serving.handovers.length).toBeGreaterThan(0);
  });

  it('gives up after ioTimeoutMs what has waited for so long while all hang, and that is never applied behind a later answer', () => {
    const world = new FailoverWorld(seed, null, 5_000);
    const { A, B, C } = world.nodes;
    const content = (): Uint8Array => A.store.vdisks.get(world.vdiskId)!.content.slice();
    world.load(500);
    world.burst();
    world.network.pass(0.1);
    for (const node of [A, B, C]) node.engine.hung = true;
    world.idle(4_000);
    expect(world.timedOut).toBe(0);
    world.idle(2_000);
    expect(world.timedOut).toBe(32);
    expect([world.underWay, world.session.session.oldestNs]).toEqual([0, Infinity]);
    // What they had sent lies in the nodes' sockets, and they wake up. Nothing is replayed.
    for (const node of [A, B, C]) node.engine.hung = false;
    for (const node of [A, B, C]) node.engine.poke();
    world.network.run(() => world.session.session.state.kind === 'open', 'a path');
    const replayed = world.session.session.counters.replayed;
    const then = content();
    world.idle(5_000);
    expect(Buffer.compare(content(), then)).toBe(0);
    expect(world.session.session.counters.replayed).toBe(replayed);
    world.load(500);
    expect(world.timedOut).toBe(32);
    settled(world);
  });
});
