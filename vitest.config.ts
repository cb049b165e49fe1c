import { relative } from 'node:path';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * Suites that start whole systems: guests, processes that get killed, foreign clients. They are begun in this order, before all
 * others: what takes long comes first, so that nothing long is left for the end, when only one of two workers has work.
 */
const SYSTEM = [
  'test/guest/power-loss/power-loss.test.ts',
  'test/guest/',
  'test/crash/process/',
  'test/meta/etcd-cluster.test.ts',
  'test/drills/namespaces.test.ts',
  'test/drills/broken.test.ts',
  'test/drills/cluster.test.ts',
  'test/main/up-nodes.test.ts',
  'test/drills/real.test.ts',
  'test/datapath/cluster.test.ts',
  'test/datapath/migration.test.ts',
  'test/main/',
  'test/clients/',
];
/** Of the others, those that take half a minute. */
const LONG = [
  'test/sim/sim.test.ts',
  'test/sim/cluster/',
  'test/sim/nodes/',
  'test/transport/real.test.ts',
  'src/nbd-server-ts/test/clients/',
  'test/conformance/',
];
const START_ORDER = [...SYSTEM, ...LONG];
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
    // Two files at a time, and each of them may be a guest: limits are there for what hangs, not for what is slow.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts', 'native/test/**/*.test.ts', 'src/nbd-server-ts/test/**/*.test.ts'],
          exclude: SYSTEM_FILES,
        },
      },
      { extends: true, test: { name: 'system', include: SYSTEM_FILES } },
    ],
  },
});
