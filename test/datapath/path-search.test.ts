import { describe, expect, it } from 'vitest';
import { HealthTable, orderOf, type Candidate } from '../../src/datapath/paths.js';
import { PathSearch } from '../../src/datapath/path-search.js';
import { HEDGE_AFTER_MS, OTHERS_EVERY_MS, SHUN_MS } from '../../src/datapath/limits.js';

const MS = 1e6;

/** Names in capitals are members; the first one is local. */
function candidatesOf(names: string): Candidate[] {
  return names.split(' ').map((node, i) => ({
    node,
    target: { kind: 'unix', socketPath: `/${node}` },
    isLocal: i === 0,
    isMember: node === node.toUpperCase(),
  }));
}

/** A search on a clock that stands until it is told to go on; writes down whom it asks, and when. */
class Rig {
  nowNs = 0;
  readonly health = new HealthTable();
  readonly asked: string[] = [];
  readonly #ids = new Map<string, number>();
  #timerNs = Infinity;
  /** What a node answers at once: a hint, or null for no connection. */
  readonly answers = new Map<string, string | null>();
  readonly search: PathSearch;

  constructor(names: string, controller: string | null = null) {
    this.search = new PathSearch(
      {
        ask: (id, { node }) => {
          this.asked.push(`${Math.round(this.nowNs / MS)} ${node}`);
          this.#ids.set(node, id);
          const answer = this.answers.get(node);
          if (answer === undefined) return;
          this.later.push(() => (answer === null ? this.search.lost(id) : this.search.refused(id, answer === '' ? undefined : answer)));
        },
        abandon: id => void this.asked.push(`abandon ${[...this.#ids].find(([, one]) => one === id)![0]}`),
        startTimer: delayMs => (this.#timerNs = this.nowNs + delayMs * MS),
        nowNs: () => this.nowNs,
      },
      this.health,
    );
    this.search.setCandidates(candidatesOf(names), controller, 1);
  }

  readonly later: (() => void)[] = [];

  id(node: string): number {
    return this.#ids.get(node)!;
  }

  /** Answers come a microsecond after they were asked for. */
  pass(ms: number): void {
    const endNs = this.nowNs + ms * MS;
    for (;;) {
      if (this.later.length > 0) {
        this.nowNs += 1_000;
        this.later.shift()!();
      } else if (this.#timerNs <= endNs) {
        this.nowNs = Math.max(this.nowNs, this.#timerNs);
        this.#timerNs = Infinity;
        this.search.onTimer();
      } else break;
    }
    this.nowNs = Math.max(this.nowNs, endNs);
  }

  take(): string[] {
    return this.asked.splice(0);
  }
}

describe('order of candidates', () => {
  const table = new HealthTable();
  const order = (names: string, hint: { node: string; atNs: number } | null = null, nowNs = 0): string =>
    orderOf(candidatesOf(names), hint, table, nowNs)
      .map(({ node }) => node)
      .join(' ');

  it.each([
    ['a local member, then the members, then a few others', 'A x B y C z v w u', null, 'A B C x y z v'],
    ['a local one that is no member, behind the members', 'a B c C', null, 'B C a c'],
    ['without a group, the local one', 'a b c', null, 'a b c'],
    ['the hint before all', 'A B C', 'C', 'C A B'],
    ['a hint to a node that is no member', 'A B x', 'x', 'x A B'],
  ])('%s', (_, names, hint, expected) => {
    expect(order(names, hint === null ? null : { node: hint, atNs: 0 })).toBe(expected);
  });

  it('puts those that refused lately behind, and those that were lost behind these, until some time has passed', () => {
    const nowNs = 10_000 * MS;
    table.of('A').lostNs = nowNs - 5 * MS;
    table.of('B').refusedNs = nowNs - 5 * MS;
    expect(order('A B C', null, nowNs)).toBe('C B A');
    // Named before it was lost, and since.
    expect(order('A B C', { node: 'A', atNs: nowNs - 6 * MS }, nowNs)).toBe('C B A');
    expect(order('A B C', { node: 'A', atNs: nowNs - 4 * MS }, nowNs)).toBe('A C B');
    table.of('B').refusedNs = -Infinity;
    expect(order('A B C', null, nowNs + SHUN_MS * MS)).toBe('A B C');
    table.of('A').lostNs = -Infinity;
    table.of('B').latencyNs = 2;
    table.of('C').latencyNs = 1;
    expect(order('A B C', null, nowNs)).toBe('A C B');
  });
});

describe('search for a path', () => {
  it('asks the controller of the group record, and is done when that opens', () => {
    const rig = new Rig('A B C', 'C');
    rig.search.start();
    rig.pass(100);
    expect(rig.take()).toEqual(['0 C']);
    expect(rig.search.opened(rig.id('C'))!.node).toBe('C');
    rig.pass(10_000);
    expect(rig.take()).toEqual([]);
    expect(rig.search.isSearching).toBe(false);
  });

  it('loses no time with nodes that are not there, and follows a hint at once', () => {
    const rig = new Rig('A B C');
    rig.answers.set('A', null).set('B', 'C');
    rig.search.start();
    rig.pass(1);
    expect(rig.take()).toEqual(['0 A', '0 B', '0 C']);
    expect(rig.search.opened(rig.id('C'))!.node).toBe('C');
  });

  it('after a kill asks the next member at once, and again soon while that one still names the dead', () => {
    const rig = new Rig('A B C', 'A');
    rig.search.start();
    rig.search.opened(rig.id('A'));
    rig.take();
    rig.search.pathGone(candidatesOf('A')[0]!, 'lost');
    rig.answers.set('A', null).set('B', 'A').set('C', 'A');
    rig.search.start();
    rig.pass(30);
    // Round after round within the first 30 ms, each at once over all three.
    expect(rig.take()).toEqual(['0 B', '0 A', '0 C', '5 A', '5 B', '5 C', '15 A', '15 B', '15 C']);
    // B has taken over: what it is asked now, it opens.
    rig.answers.delete('B');
    rig.pass(60);
    expect(rig.take()).toContain('35 B');
    expect(rig.search.opened(rig.id('B'))!.node).toBe('B');
    expect(rig.take().filter(line => line.startsWith('abandon'))).toEqual([]);
  });

  it('gives a takeover its time: asks the next one beside it, and takes the first that opens', () => {
    const rig = new Rig('A B C');
    rig.search.pathGone(candidatesOf('A')[0]!, 'lost');
    rig.search.start();
    rig.pass(HEDGE_AFTER_MS - 1);
    expect(rig.take()).toEqual(['0 B']);
    rig.pass(2);
    expect(rig.take()).toEqual([`${HEDGE_AFTER_MS} C`]);
    rig.pass(HEDGE_AFTER_MS);
    expect(rig.take()).toEqual([`${2 * HEDGE_AFTER_MS} A`]);
    // All have been asked: nobody is asked twice, whatever time passes.
    rig.pass(4_000);
    expect(rig.take()).toEqual([]);
    expect(rig.search.opened(rig.id('B'))!.node).toBe('B');
    expect(rig.take()).toEqual(['abandon C', 'abandon A']);
    expect(rig.search.opened(rig.id('C'))).toBe(null);
    expect(rig.search.lost(rig.id('A'))).toBe(false);
  });

  it('waits for no node that was lost a moment ago: a hung controller that the others still name costs a few ms', () => {
    const rig = new Rig('A B', 'A');
    rig.search.pathGone(candidatesOf('A')[0]!, 'lost');
    // A takes the connection and is silent.
    rig.answers.set('B', 'A');
    rig.search.start();
    rig.pass(21);
    expect(rig.take()).toEqual(['0 B', '0 A', '10 B', '20 B']);
  });

  it('backs off to 250 ms while nothing is there, and goes on within that when it is back', () => {
    const rig = new Rig('A');
    rig.answers.set('A', null);
    rig.search.start();
    rig.pass(10_000);
    const times = rig.take().map(line => Number(line.split(' ')[0]));
    expect(times.slice(0, 5)).toEqual([0, 5, 15, 35, 75]);
    expect(times.at(-1)! - times.at(-2)!).toBe(250);
    expect(times.length).toBeLessThan(50);
  });

  it('does not go back and forth between nodes that name each other', () => {
    const rig = new Rig('A B');
    rig.answers.set('A', 'B').set('B', 'A');
    rig.search.start();
    rig.pass(4);
    expect(rig.take().length).toBeLessThanOrEqual(4);
  });

  it('asks nodes that are no members seldom, and all of them where no member is known', () => {
    const rig = new Rig('A x y');
    rig.answers.set('A', null).set('x', '').set('y', '');
    rig.search.start();
    rig.pass(3 * OTHERS_EVERY_MS);
    const asked = rig.take();
    expect(asked.filter(line => line.endsWith('x')).length).toBe(2);
    expect(asked.filter(line => line.endsWith('y')).length).toBe(1);
    const unknown = new Rig('a x y');
    unknown.answers.set('a', null).set('x', '').set('y', '');
    unknown.search.start();
    unknown.pass(1);
    expect(unknown.take()).toEqual(['0 a', '0 x', '0 y']);
  });

  it('takes up a new group record at once, and one that it has seen not again', () => {
    const rig = new Rig('A B C', 'A');
    rig.answers.set('A', '').set('B', '').set('C', '');
    rig.search.start();
    rig.pass(400);
    rig.take();
    rig.answers.clear();
    rig.search.setCandidates(candidatesOf('A B C'), 'A', 1);
    rig.take();
    rig.search.stop();
    rig.take();
    rig.search.start();
    rig.search.setCandidates(candidatesOf('A B C D'), 'D', 2);
    expect(rig.take().at(-1)).toMatch(/ D$/);
  });

  it('asks nobody else while the one that was named is asked, whoever names it again; but not for ever', () => {
    const rig = new Rig('A B C', 'A');
    rig.search.pathGone(candidatesOf('A')[0]!, 'fenced', 'B');
    rig.search.start();
    rig.pass(50);
    // The takeover that it waits for has changed the record.
    rig.search.setCandidates(candidatesOf('A B C'), 'B', 2);
    rig.pass(HEDGE_AFTER_MS - 51);
    expect(rig.take()).toEqual(['0 B']);
    rig.answers.set('C', 'B').set('A', 'B');
    rig.pass(HEDGE_AFTER_MS);
    const [first, ...others] = rig.take();
    expect(first).toBe(`${HEDGE_AFTER_MS} C`);
    expect(others).not.toEqual([]);
    expect(rig.search.opened(rig.id('B'))!.node).toBe('B');
  });

  it('stops: abandons all that is under way', () => {
    const rig = new Rig('A B');
    rig.search.start();
    rig.pass(HEDGE_AFTER_MS + 1);
    rig.take();
    rig.search.stop();
    expect(rig.take()).toEqual(['abandon A', 'abandon B']);
    rig.pass(1_000);
    expect(rig.take()).toEqual([]);
  });
});
