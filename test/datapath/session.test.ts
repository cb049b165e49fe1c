import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createSessionProbes } from '../../src/base/probe.js';
import { MAX_UNANSWERED } from '../../src/datapath/limits.js';
import { Session } from '../../src/datapath/session.js';
import type { SessionRequest } from '../../src/datapath/session-request.js';
import { SESSION_WINDOW } from '../../src/wire/limits.js';
import { IoOp, type PathRequest, type StargatePath } from '../../src/wire/path.js';
import { IoStatus } from '../../src/wire/status.js';
import { fakeGather, SessionScript } from './session-harness.js';

const directory = new URL('session-scripts/', import.meta.url);

describe('session: golden scripts', () => {
  for (const file of readdirSync(directory)) {
    it(file, () => {
      const url = new URL(file, directory);
      const text = readFileSync(url, 'utf8');
      const result = new SessionScript().run(text);
      // After an intended change: UPDATE_SCRIPTS=1 npx vitest run test/datapath/session.test.ts, and read the difference.
      if (process.env['UPDATE_SCRIPTS'] === '1') writeFileSync(url, result);
      expect(result).toBe(text);
    });
  }
});

/**
 * A controller behind paths that break: keeps the requests of the present path in order, applies them with rule 15's table, and answers in
 * any order, or not at all.
 */
class FarEnd {
  readonly applied: number[] = [];
  readonly answered = new Map<string, number>();
  term = 1;
  floor = 0;
  epoch = 0;
  retryEpoch = 0;
  path: StargatePath | null = null;
  #arrived: PathRequest[] = [];
  #seen = new Set<number>();
  #highest = 0;
  maxWidth = 0;

  readonly session = new Session(
    {
      openPath: epoch => void (this.epoch = epoch),
      abandonPath: () => undefined,
      startRetry: epoch => void (this.retryEpoch = epoch),
      endSession: () => undefined,
      accuse: () => undefined,
      nowNs: () => 0,
      floor: {
        unsettled: () => 0,
        addUnsettled: () => undefined,
        isHeld: () => false,
        hold: () => undefined,
        current: () => this.floor,
        raise: term => void (this.floor = Math.max(this.floor, term)),
      },
      openProbes: createSessionProbes,
    },
    fakeGather(),
  );

  open(): void {
    const arrived: PathRequest[] = (this.#arrived = []);
    let last = 0;
    const path: StargatePath = {
      kind: 'unix',
      submit: request => {
        if (this.path !== path) throw new Error('submitted to a path that is closed');
        if (request.clientSeq <= last) throw new Error(`#${request.clientSeq} after #${last} on one path`);
        last = request.clientSeq;
        this.maxWidth = Math.max(this.maxWidth, request.clientSeq - request.lowWater + 1);
        arrived.push(request);
      },
      release: () => undefined,
      close: () => {
        this.path = null;
        this.#arrived = [];
      },
    };
    this.path = path;
    this.session.opened(this.epoch, path, this.term);
  }

  /** Applies the first `count` arrived requests that are new, answers one of the arrived. */
  serve(count: number, pick: number, status: IoStatus = IoStatus.ok): void {
    for (const { clientSeq } of this.#arrived.slice(0, count)) {
      if (this.#seen.has(clientSeq)) continue;
      this.#seen.add(clientSeq);
      if (clientSeq < this.#highest) throw new Error(`#${clientSeq} is new behind #${this.#highest}`);
      this.#highest = clientSeq;
      this.applied.push(clientSeq);
    }
    const ready = this.#arrived.filter(request => this.#seen.has(request.clientSeq));
    if (ready.length === 0) return;
    const request = ready[pick % ready.length]!;
    this.#arrived.splice(this.#arrived.indexOf(request), 1);
    request.status = status;
    request.term = this.term;
    this.session.onReply(request);
  }

  get arrivedCount(): number {
    return this.#arrived.length;
  }

  write(name: string): void {
    const request = this.session.acquire();
    const onAnswer = ({ status }: SessionRequest): void => {
      if (this.answered.has(name)) throw new Error(`${name} answered twice`);
      this.answered.set(name, status);
    };
    request.set(IoOp.write, 0, 4096, { onAnswer }, name);
    this.session.submit(request);
  }

  lose(): void {
    this.session.pathEnded(this.epoch, 'lost');
  }

  drain(): void {
    for (let i = 0; i < 100_000 && this.session.unanswered > 0; i++) {
      if (this.session.state.kind === 'disconnected') this.session.retry(this.retryEpoch);
      if (this.session.state.kind === 'opening') this.open();
      this.serve(8, i);
    }
  }
}

const step = fc.oneof(
  { weight: 6, arbitrary: fc.constant(['write'] as const) },
  { weight: 6, arbitrary: fc.tuple(fc.constant('serve' as const), fc.nat(5), fc.nat(20)) },
  { weight: 1, arbitrary: fc.constantFrom(['lose'] as const, ['fence'] as const, ['new term'] as const, ['floor'] as const) },
  { weight: 3, arbitrary: fc.constantFrom(['retry'] as const, ['open'] as const) },
);

describe('session: any schedule', () => {
  it('applies each request once, in order, and answers each once', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), steps => {
        const far = new FarEnd();
        far.session.start();
        let written = 0;
        for (const [kind, a, b] of steps) {
          if (kind === 'write') far.write(`w${++written}`);
          else if (kind === 'serve') far.serve(a, b);
          else if (kind === 'lose') far.lose();
          else if (kind === 'fence') far.serve(0, 0, IoStatus.fenced);
          else if (kind === 'new term') far.term++;
          else if (kind === 'floor') far.floor = ++far.term;
          else if (kind === 'retry') far.session.retry(far.retryEpoch);
          else if (far.session.state.kind === 'opening') far.open();
        }
        far.drain();
        expect(far.applied).toEqual(Array.from({ length: written }, (_, i) => i + 1));
        expect(far.answered.size).toBe(written);
        expect([...far.answered.values()].every(status => status === IoStatus.ok)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('keeps what is unanswered and the window within their limits while one request hangs', () => {
    const far = new FarEnd();
    far.session.start();
    far.open();
    const count = 3 * SESSION_WINDOW;
    for (let i = 1; i <= count; i++) {
      far.write(`w${i}`);
      // The first one is never answered; those behind it are.
      if (far.arrivedCount > 1) far.serve(1 << 20, 1);
    }
    expect(far.answered.size).toBeLessThan(SESSION_WINDOW);
    expect(far.maxWidth).toBeLessThanOrEqual(SESSION_WINDOW);
    expect(far.session.unanswered).toBeLessThanOrEqual(MAX_UNANSWERED);
    far.drain();
    expect(far.answered.size).toBe(count);
    expect(far.maxWidth).toBeLessThanOrEqual(SESSION_WINDOW);
  });

  it('says how much payload waits to be sent again, of all that is not answered', () => {
    const far = new FarEnd();
    far.session.start();
    const count = MAX_UNANSWERED + 3;
    for (let i = 1; i <= count; i++) far.write(`w${i}`);
    expect(far.session).toMatchObject({ unanswered: MAX_UNANSWERED, waiting: 3, heldBytes: count * 4_096 });
    far.open();
    far.serve(1 << 20, 0);
    expect(far.session.heldBytes).toBe((count - far.answered.size) * 4_096);
    expect(far.answered.size).toBeGreaterThan(0);
    far.session.detach();
    expect(far.answered.size).toBe(count);
    expect(far.session).toMatchObject({ unanswered: 0, waiting: 0, heldBytes: 0 });
  });
});
