import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Report } from '../../src/drill/report.js';
import { gatepathArgv, runGatepath } from '../support/gatepath.js';
import { run, type RunResult } from '../support/process.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { sleep } from '../support/wait.js';
import { SplitCluster } from './split-cluster.js';

const NO_DEDUPE = new URL('./no-dedupe.mjs', import.meta.url);
const DEAF_MS = 60;
const REST_MS = 150;
const NOTHING = { lost: 0, doubled: 0, stale: 0, torn: 0 };

let dir: string;
let cluster: SplitCluster | undefined;

beforeEach(() => {
  dir = makeTempDir('drill');
});
afterEach(async () => {
  await cluster?.kill();
  cluster = undefined;
  removeTempDir(dir);
});

/** It starts several processes, one after another: on a busy machine that takes its time. */
const DRILL_TIMEOUT_MS = 240_000;
const runDrill = (...args: readonly string[]): Promise<RunResult> => run(gatepathArgv('drill', ...args), { timeoutMs: DRILL_TIMEOUT_MS });

const reportOf = ({ stdout, stderr }: RunResult): Report => {
  expect(stdout, stderr).toMatch(/^\{/);
  return JSON.parse(stdout) as Report;
};

/** A drill without a fault of its own, while the datapath's connections go deaf one after another. */
async function drillOverDeafLink(mutant?: URL): Promise<Report> {
  const split = await SplitCluster.start(join(dir, 's'), mutant);
  cluster = split;
  let running = true;
  const deafening = (async () => {
    for (; running; await sleep(REST_MS)) await split.link.deafen(DEAF_MS);
  })();
  const result = await runDrill('quiet', '--data', split.dataDir, '--seconds', '4', '--json');
  running = false;
  await deafening;
  expect(split.link.cuts).toBeGreaterThan(2);
  return reportOf(result);
}

describe('a drill', { timeout: 2 * DRILL_TIMEOUT_MS }, () => {
  it('starts a system of its own, kills its only process, and finds nothing wrong', async () => {
    const report = join(dir, 'report');
    const result = await runDrill('kill', '--nodes', '1', '--seconds', '2', '--json', '--report', report);
    const { passed, rounds } = reportOf(result);
    expect({ code: result.code, passed }).toEqual({ code: 0, passed: true });
    expect(rounds[0]!.verdict.counts).toEqual(NOTHING);
    expect(rounds[0]!.operations).toBeGreaterThan(4_096);
    expect(rounds[0]!.disconnects).toBeGreaterThan(0);
    expect(rounds[0]!.marks.map(mark => mark.kind)).toEqual(expect.arrayContaining(['fault', 'heal', 'state']));
    expect(JSON.parse(readFileSync(join(report, 'drill.json'), 'utf8'))).toMatchObject({ passed: true });
    expect(readFileSync(join(report, 'drill.html'), 'utf8')).toContain('<svg');
  });

  it('kills the Stargate of a system that runs, whose datapath stays: no connection is lost; its vdisk is gone afterwards', async () => {
    cluster = await SplitCluster.start(join(dir, 's'));
    const result = await runDrill('kill', '--data', cluster.dataDir, '--seconds', '2', '--json');
    const { passed, rounds } = reportOf(result);
    expect({ code: result.code, passed, failures: rounds[0]!.failures }).toEqual({ code: 0, passed: true, failures: [] });
    expect(rounds[0]).toMatchObject({ disconnects: 0, errors: 0, stuck: 0, verdict: { counts: NOTHING } });
    const list = await runGatepath('vdisk', 'list', '--data', join(cluster.dataDir, 'node'), '--json');
    expect(JSON.parse(list.stdout)).toEqual([]);
  });

  it('passes while connections go deaf and requests are sent again', async () => {
    const { passed, rounds } = await drillOverDeafLink();
    expect({ passed, failures: rounds[0]!.failures }).toEqual({ passed: true, failures: [] });
  });

  it('fails when the Stargate does not know again what it has seen', async () => {
    const { passed, rounds } = await drillOverDeafLink(NO_DEDUPE);
    expect(passed).toBe(false);
    const { counts, findings } = rounds[0]!.verdict;
    expect(counts.doubled).toBeGreaterThan(0);
    expect(findings[0]!.operations.length).toBeGreaterThan(1);
  });

  it.each([
    ['a drill that there is not', ['drill', 'earthquake'], /there is no drill "earthquake".*kill/s],
    ['a load that there is not', ['drill', 'kill', '--load', 'dd'], /argument 'dd' is invalid. Allowed choices are own, fio/],
    ['no rounds', ['drill', 'kill', '--rounds', '0'], /--rounds 0 is not a whole number/],
  ])('says what is wrong with %s', async (_what, args, message) => {
    const { code, stderr } = await runDrill(...args.slice(1));
    expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringMatching(message) as string });
  });

  it('says that no system runs', async () => {
    const { code, stderr } = await runDrill('kill', '--data', join(dir, 'nothing'));
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringMatching(/there is no .*cluster\.json/) as string });
    expect(existsSync(join(dir, 'nothing'))).toBe(false);
  });
});
