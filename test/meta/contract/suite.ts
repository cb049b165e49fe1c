import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MetaUnavailable } from '../../../src/meta/errors.js';
import { Bench, type Subject } from './bench.js';
import { describeReading, describeTransactions } from './reads-and-writes.js';
import { describeLimits, describeValues } from './values-and-limits.js';
import { describeWatches } from './watches.js';

/** What every metadata store promises (src/meta/store.ts), proved on the real thing. Each test has keys of its own. */
export function describeStore(name: string, start: () => Promise<Subject>): void {
  describe(`metadata store contract: ${name}`, () => {
    const bench = new Bench();
    let subject: Subject;

    beforeAll(async () => {
      subject = await start();
      bench.store = await subject.open();
      bench.other = await subject.open();
    });
    afterAll(() => subject.close());

    describeReading(bench);
    describeTransactions(bench);
    describeValues(bench);
    describeLimits(bench);
    describeWatches(bench);

    describe('closed', () => {
      it('everything is rejected with MetaUnavailable, what waits too', async () => {
        const closed = await start();
        try {
          const one = await closed.open();
          await one.get('a');
          const watch = one.watch('a', () => undefined);
          const waiting = Promise.allSettled([one.get('a'), one.range('a'), one.transaction([], [{ put: 'a', value: 1 }])]);
          await one.close();
          for (const result of await waiting) {
            if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(MetaUnavailable);
          }
          await expect(one.get('a')).rejects.toBeInstanceOf(MetaUnavailable);
          await expect(one.range('a')).rejects.toBeInstanceOf(MetaUnavailable);
          await expect(one.transaction([], [{ put: 'a', value: 1 }])).rejects.toBeInstanceOf(MetaUnavailable);
          watch.close();
          await one.close();
        } finally {
          await closed.close();
        }
      });
    });
  });
}
