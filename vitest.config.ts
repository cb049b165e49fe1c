import { relative } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * Suites that start whole systems: guests, processes that get killed, foreign clients. They are begun in this order, before all
 * others: what takes long comes first, so that nothing long is left for the end, when only one of two workers has work.
 */
const SYSTEM = [
  'test/guest/',
  'test/crash/process/',
  'test/drills/cluster.test.ts',
  'test/main/up-nodes.test.ts',
  'test/main/flush-nodes.test.ts',
  'test/main/quarantine.test.ts',
  'test/drills/real.test.ts',
  'test/datapath/cluster.test.ts',
  'test/datapath/migration.test.ts',
  'test/cli/transfer/',
  'test/main/',
  'test/clients/',
];
/** Of the others, those that take half a minute. */
const HALF_A_MINUTE = [
  'test/sim/sim.test.ts',
  'test/sim/cluster/',
  'test/sim/nodes/',
  'test/transport/real.test.ts',
  'src/nbd-server-ts/test/clients/',
  'test/conformance/',
];
/** Minutes each, and the processors for themselves: `npm run test:long`. */
const LONG_FILES = ['test/**/*.long.test.ts'];
const START_ORDER = [...SYSTEM, ...HALF_A_MINUTE];
const SYSTEM_FILES = SYSTEM.map(path => (path.endsWith('/') ? `${path}**/*.test.ts` : path));

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const path = relative(import.meta.dirname, moduleId);
      const at = START_ORDER.findIndex(start => path.startsWith(start));
      return at < 0 ? START_ORDER.length : at;
    };
    // Equals stay in vitest's own order: by what they took the last time, or by their size.
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    pool: 'forks',
    // Several files at a time, and each of them may be a guest: limits are there for what hangs, not for what is slow.
    testTimeout: 600_000,
    hookTimeout: 600_000,
    sequence: { sequencer: LongestFirst },
    projects: [
      // What starts whole systems waits some of its time: three at once keep two processors busy.
      {
        extends: true,
        test: { name: 'system', include: SYSTEM_FILES, exclude: LONG_FILES, maxWorkers: 3, sequence: { groupOrder: 0 } },
      },
      // A worker keeps what it has loaded for the next file: loading takes longer than most of these tests.
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts', 'src/nbd-server-ts/test/**/*.test.ts'],
          exclude: [...SYSTEM_FILES, ...LONG_FILES],
          isolate: false,
          maxWorkers: 3,
          sequence: { groupOrder: 1 },
        },
      },
      // What a thread leaves in the kernel when it ends is looked at here: each file has a process of its own.
      { extends: true, test: { name: 'engine', include: ['native/test/**/*.test.ts'], maxWorkers: 3, sequence: { groupOrder: 1 } } },
      { extends: true, test: { name: 'long', include: LONG_FILES, maxWorkers: 1, sequence: { groupOrder: 2 } } },
    ],
  },
});
