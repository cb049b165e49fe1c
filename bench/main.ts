// npm run bench [-- SUITE... --rounds N --seconds S --engine uring|libuv|both --dir DIR --json FILE --profile DIR --ours COMMAND --against CHECKOUT]
// Without suites: all of them. --profile writes CPU profiles of ours there and prints where the time went; it costs speed.
// --against: the suites of the NBD endpoint alone, against the build of another checkout in place of the peers.
// Ours and its peers are measured by turns, in rounds; see bench/turns.ts.
import { mkdirSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { makeTempDir, removeTempDir } from '../test/support/temp.js';
import { compileLoadGenerator } from './load/generator.js';
import { machineFacts } from './machine.js';
import { checkoutPeer, commandPeer, gatepathPeer, type PeerFactory } from './peers.js';
import { printProfiles, profilingArguments } from './profile.js';
import { printSuite, toJson } from './report.js';
import { NBD_SUITES } from './suites/nbd.js';
import { NFS_SUITES, runNfsSuite } from './suites/nfs.js';
import { REPLICATION_SUITES } from './suites/replication.js';
import { runNbdSuite, type BenchContext, type NbdSuite, type SuiteResult } from './turns.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    engine: { type: 'string', default: 'uring' },
    dir: { type: 'string' },
    json: { type: 'string' },
    profile: { type: 'string' },
    ours: { type: 'string' },
    against: { type: 'string' },
  },
});

function oursOf(engine: string, command: string | undefined, nodeArgs: readonly string[]): readonly PeerFactory[] {
  if (command !== undefined) return [commandPeer(command)];
  switch (engine) {
    case 'uring':
      return [gatepathPeer('uring', nodeArgs)];
    case 'libuv':
      return [gatepathPeer('libuv', nodeArgs)];
    case 'both':
      return [gatepathPeer('uring', nodeArgs), gatepathPeer('libuv', nodeArgs)];
    default:
      throw new Error(`--engine ${engine}: uring, libuv or both`);
  }
}

/** Against another checkout there is no target: what the ratio may be is for the reader, who knows what has changed. */
function suitesAgainst(checkout: string): readonly NbdSuite[] {
  if (values.engine === 'both') throw new Error('--against: one engine, uring or libuv');
  const peers = [checkoutPeer(checkout, values.engine === 'libuv' ? 'libuv' : 'uring')];
  return NBD_SUITES.map(({ target: _target, ...suite }) => ({ ...suite, peers }));
}

const nbdSuites = values.against === undefined ? [...NBD_SUITES, ...REPLICATION_SUITES] : suitesAgainst(values.against);
const nfsSuites = values.against === undefined ? NFS_SUITES : [];
const names = [...nbdSuites, ...nfsSuites].map(suite => suite.name);
const unknown = positionals.filter(name => !names.some(known => known.startsWith(name)));
if (unknown.length > 0) {
  console.error(`no suite ${unknown.join(', ')}; there are: ${names.join(', ')} (a prefix selects several)`);
  process.exit(2);
}
const wanted = (name: string): boolean => positionals.length === 0 || positionals.some(prefix => name.startsWith(prefix));

const temporary = values.dir === undefined ? makeTempDir('bench') : undefined;
const dir = values.dir ?? temporary ?? '.';
for (const path of [dir, values.profile ?? dir]) mkdirSync(path, { recursive: true });
const machine = machineFacts(dir);
const context: BenchContext = {
  generator: await compileLoadGenerator(),
  dir,
  rounds: Number(values.rounds),
  seconds: Number(values.seconds),
  ours: oursOf(values.engine, values.ours, values.profile === undefined ? [] : profilingArguments(values.profile)),
  log: line => console.error(line),
};
console.log(
  Object.entries(machine)
    .map(([key, value]) => `${key}: ${value}`)
    .join('\n'),
);
console.log(`${context.rounds} rounds of ${context.seconds} s, peers by turns; medians; ratios are taken within a round`);

const results: SuiteResult[] = [];
try {
  for (const suite of nbdSuites.filter(({ name }) => wanted(name))) results.push(await runNbdSuite(suite, context));
  for (const suite of nfsSuites.filter(({ name }) => wanted(name))) results.push(await runNfsSuite(suite, context));
} finally {
  for (const result of results) printSuite(result, line => console.log(line));
  if (values.profile !== undefined) printProfiles(values.profile, line => console.log(line));
  if (values.json !== undefined) writeFileSync(values.json, toJson(machine, results));
  if (temporary !== undefined) removeTempDir(temporary);
}
