import { afterAll, describe, expect, test } from 'vitest';
import { ENGINES } from '../../src/nbd-server-ts/test/support/server.js';
import type { Peer } from './peer.js';
import { Ours } from './peers/ours.js';
import { UriPeer } from './peers/uri.js';
import { runRow } from './row.js';
import { ROWS } from './rows/index.js';

// NBD_URI=nbd://… npx vitest run test/conformance      another server's export, which is written to
const uri = process.env['NBD_URI'];
const peers: Peer[] = uri === undefined ? ENGINES.map(engine => new Ours(engine)) : [new UriPeer(uri)];

describe.each(peers)('NBD conformance, $name', peer => {
  afterAll(() => peer.stop());

  test.each(ROWS)('$title', async row => {
    const { verdict, failures, notOffered } = await runRow(row, peer);
    expect(failures).toEqual([]);
    // Of our own server every row holds, in every check.
    if (uri === undefined) expect({ verdict, notOffered }).toEqual({ verdict: 'holds', notOffered: [] });
  });
});
