import { defineConfig } from 'vitest/config';

/** Suites that start whole systems: guests, processes that get killed, foreign clients. They run one file at a time, after the rest. */
const SYSTEM = [
  'test/guest/**/*.test.ts',
  'test/crash/process/**/*.test.ts',
  'test/clients/**/*.test.ts',
  'test/main/**/*.test.ts',
  'test/meta/etcd-cluster.test.ts',
];

export default defineConfig({
  test: {
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 60_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts', 'native/test/**/*.test.ts', 'src/nbd-server-ts/test/**/*.test.ts'],
          exclude: SYSTEM,
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: { name: 'system', include: SYSTEM, maxWorkers: 1, sequence: { groupOrder: 1 } },
      },
    ],
  },
});
