import { writeFileSync } from 'node:fs';
import type { Peer } from './peer.js';
import { NbdServerOfNbd } from './peers/nbd-server.js';
import { Nbdkit } from './peers/nbdkit.js';
import { Ours } from './peers/ours.js';
import { QemuNbd } from './peers/qemu-nbd.js';
import { UriPeer } from './peers/uri.js';
import { runRow, type RowResult } from './row.js';
import { ROWS } from './rows/index.js';
import { renderReport } from './report.js';

// npm run conformance -- [--write FILE] [URI...]
//   without a URI: nbd-server-ts, and what Debian has of nbdkit, qemu-nbd and nbd-server. The export of a URI is written to.
const args = process.argv.slice(2);
const at = args.indexOf('--write');
const file = at >= 0 ? args.splice(at, 2)[1] : undefined;
const peers: Peer[] =
  args.length > 0 ? args.map(uri => new UriPeer(uri)) : [new Ours('io_uring'), new Nbdkit(), new QemuNbd(), new NbdServerOfNbd()];

const results = new Map<string, RowResult[]>();
for (const peer of peers) {
  const ofPeer: RowResult[] = [];
  for (const row of ROWS) {
    const result = await runRow(row, peer);
    ofPeer.push(result);
    console.log(`${peer.name}: ${result.verdict.padEnd(11)} ${row.title}`);
    for (const failure of result.failures) console.log(`    ${failure}`);
  }
  results.set(peer.name, ofPeer);
  await peer.stop();
}
const report = renderReport(ROWS, results);
if (file === undefined) console.log(`\n${report}`);
else writeFileSync(file, report);
process.exit(0);
