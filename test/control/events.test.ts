import { describe, expect, it } from 'vitest';
import { silentLogger } from '../../src/base/log.js';
import { MAX_EVENTS } from '../../src/control/events/limits.js';
import { EventRing } from '../../src/control/events/ring.js';

const [one, other] = ['11111111-1111-4111-8111-111111111111', '22222222-2222-4222-8222-222222222222'];

function ring(): EventRing {
  return new EventRing({ source: 'node-1', log: silentLogger, now: () => new Date(0) });
}

const happen = (events: EventRing, vdiskId: string | null, cause: string, severity: 'info' | 'warn' = 'info'): void =>
  events.emit({ kind: 'member-added', severity, vdiskId, cause });
const all = { after: 0, vdiskId: null, limit: 500, waitMs: 0 };

describe('the ring of events', () => {
  it('gives what there is, and then what comes behind it', () => {
    const events = ring();
    happen(events, one, 'a');
    happen(events, other, 'b');
    const page = events.read(all);
    expect(page.events.map(({ seq, cause, source }) => [seq, cause, source])).toEqual([
      [1, 'a', 'node-1'],
      [2, 'b', 'node-1'],
    ]);
    happen(events, one, 'c');
    expect(events.read({ ...all, after: page.last }).events.map(({ cause }) => cause)).toEqual(['c']);
    expect(events.read({ ...all, vdiskId: other }).events.map(({ cause }) => cause)).toEqual(['b']);
  });

  it('is bounded, and whoever goes on in small steps misses none that is kept', () => {
    const events = ring();
    for (let i = 1; i <= MAX_EVENTS + 10; i++) happen(events, null, `${i}`);
    expect(events.read({ ...all, limit: 1 }).events[0]!.seq).toBe(MAX_EVENTS + 10);
    const seen: number[] = [];
    for (let after = 11; ;) {
      const page = events.read({ ...all, after, limit: 100 });
      if (page.events.length === 0) break;
      seen.push(...page.events.map(({ seq }) => seq));
      after = page.last;
    }
    expect(seen).toEqual(Array.from({ length: MAX_EVENTS - 1 }, (_, i) => i + 12));
  });

  it('whoever follows hears the next one that concerns him', async () => {
    const events = ring();
    happen(events, one, 'before');
    const next = events.follow({ after: 1, vdiskId: one, limit: 10, waitMs: 20_000 });
    await Promise.resolve();
    happen(events, other, 'not his');
    happen(events, one, 'his');
    expect((await next).events.map(({ cause }) => cause)).toEqual(['his']);
  });

  it('a place in the life of another process is none', () => {
    const events = ring();
    happen(events, null, 'a');
    expect(events.read({ ...all, after: 700 })).toMatchObject({ events: [{ seq: 1 }], last: 1 });
  });

  it('knows the last trouble of a vdisk', () => {
    const events = ring();
    happen(events, one, 'worse', 'warn');
    happen(events, one, 'better');
    happen(events, other, 'elsewhere', 'warn');
    expect(events.lastProblem(one)?.cause).toBe('worse');
    expect(events.lastProblem('33333333-3333-4333-8333-333333333333')).toBe(null);
  });
});
