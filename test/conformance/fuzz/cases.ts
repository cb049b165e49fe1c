import { ascii, u16, u32, unhex } from '../../../src/nbd-server-ts/test/support/hex.js';
import {
  encodeExtendedRequest,
  encodeOption,
  encodeRequest,
  type RawClient,
  type RawRequest,
} from '../../../src/nbd-server-ts/test/support/raw-client.js';
import { contextsData, infoData, Option, Rep, verdictOf } from '../../../src/nbd-server-ts/test/support/session.js';
import type { Random } from '../../support/random.js';

/** What a hostile client does, all of it decided by a seed. */
export interface FuzzCase {
  readonly what: string;
  readonly tls: boolean;
  /** Says its things to a fresh connection; it may be closed at any time. */
  run(client: RawClient): Promise<void>;
}

/** In memory, and in a file. */
const EXPORTS = ['disk', 'file'];
const NAMES = [...EXPORTS, '', 'nope', 'é'.repeat(300), 'disk\0', 'x'.repeat(4097)];
const QUERIES = ['base:allocation', 'base:', '', 'qemu:', 'qemu:dirty-bitmap:daily', 'qemu:allocation-depth', 'x:y'];
const LENGTHS = [0, 1, 511, 512, 4096, 65_535, 65_537, 1 << 20, 3 << 20, 33 << 20, 0xffff_ffff, 2 ** 32, 2 ** 52];
const OFFSETS = [0, 1, 4095, 1 << 20, 64 << 20, (64 << 20) - 1, 2 ** 32, 2 ** 53, 2 ** 63];
const MAX_PAYLOAD = 300_000;

function pick<T>(random: Random, list: readonly T[]): T {
  return list[random.below(list.length)]!;
}

function chance(random: Random, probability: number): boolean {
  return random.next() < probability;
}

function bytesOf(random: Random, count: number): Uint8Array {
  return Uint8Array.from({ length: count }, () => random.below(256));
}

/** The bytes of a negotiation, sound but for what is changed in them. */
function options(random: Random): Uint8Array {
  const parts: Uint8Array[] = [];
  const count = random.below(12);
  for (let i = 0; i < count; i++) {
    const name = pick(random, NAMES);
    const kind = random.below(14);
    if (kind === Option.info || kind === Option.go) parts.push(encodeOption(kind, infoData(name, [0, 1, 2, 3].slice(random.below(4)))));
    else if (kind === Option.listContexts || kind === Option.setContexts)
      parts.push(encodeOption(kind, contextsData(name, QUERIES.slice(random.below(QUERIES.length)))));
    else if (kind === Option.exportName) parts.push(encodeOption(kind, Buffer.from(name).toString('hex')));
    else
      parts.push(
        encodeOption(chance(random, 0.2) ? random.below(2 ** 31) : kind, chance(random, 0.5) ? '' : '5a'.repeat(random.below(3000))),
      );
  }
  return Buffer.concat(parts);
}

function requests(random: Random, extended: boolean): Uint8Array {
  const parts: Uint8Array[] = [];
  const count = 1 + random.below(40);
  for (let i = 0; i < count; i++) {
    const type = chance(random, 0.9) ? random.below(10) : random.below(65_536);
    const length = pick(random, LENGTHS);
    const flags = chance(random, 0.6) ? 0 : chance(random, 0.7) ? 1 << random.below(7) : random.below(65_536);
    const request: RawRequest = {
      type,
      length: extended ? length : length % 2 ** 32,
      flags,
      offset: BigInt(pick(random, OFFSETS)),
      cookie: BigInt(i),
    };
    const payload =
      length <= MAX_PAYLOAD && (type === 1 || chance(random, 0.1))
        ? { payload: new Uint8Array(chance(random, 0.95) ? length : length + 1) }
        : {};
    parts.push((extended ? encodeExtendedRequest : encodeRequest)({ ...request, ...payload }));
  }
  return Buffer.concat(parts);
}

/** Changes, cuts out or puts in a few bytes. */
function spoil(random: Random, bytes: Uint8Array): Uint8Array {
  let spoilt = Buffer.from(bytes);
  for (let i = random.below(4); i > 0 && spoilt.length > 0; i--) {
    const at = random.below(spoilt.length);
    const kind = random.below(4);
    if (kind === 0) spoilt[at] = random.below(256);
    else if (kind === 1)
      spoilt = Buffer.concat([spoilt.subarray(0, at), spoilt.subarray(Math.min(spoilt.length, at + 1 + random.below(40)))]);
    else if (kind === 2) spoilt = Buffer.concat([spoilt.subarray(0, at), bytesOf(random, 1 + random.below(40)), spoilt.subarray(at)]);
    else spoilt = spoilt.subarray(0, at);
  }
  return spoilt;
}

/** In portions, so that the server sees ends in the middle of everything. */
async function sendInPortions(random: Random, client: RawClient, bytes: Uint8Array): Promise<void> {
  let at = 0;
  const portions = 1 + random.below(6);
  for (let i = 0; i < portions && !client.ended; i++) {
    const end = i === portions - 1 ? bytes.length : at + random.below(bytes.length - at + 1);
    client.send(bytes.subarray(at, end));
    at = end;
    await new Promise(resolve => setImmediate(resolve));
  }
}

async function fuzzHandshake(random: Random, client: RawClient): Promise<void> {
  const flags = chance(random, 0.9) ? 3 : random.below(16);
  const bytes = chance(random, 0.1)
    ? bytesOf(random, random.below(2000))
    : spoil(random, Buffer.concat([unhex(u32(flags)), options(random)]));
  await sendInPortions(random, client, bytes);
}

async function fuzzTransmission(random: Random, client: RawClient): Promise<void> {
  const extended = chance(random, 0.5);
  const name = pick(random, EXPORTS);
  await client.begin();
  if (extended) await client.option(Option.extended);
  else if (chance(random, 0.7)) await client.option(Option.structured);
  if (chance(random, 0.7)) await client.option(Option.setContexts, contextsData(name, QUERIES));
  if (verdictOf(await client.option(Option.go, infoData(name, [3]))) !== Rep.ack) throw new Error('GO is refused');
  const bytes = requests(random, extended);
  await sendInPortions(random, client, chance(random, 0.5) ? bytes : spoil(random, bytes));
}

/** TLS records, of a client that means well for a while. */
async function fuzzTls(random: Random, client: RawClient): Promise<void> {
  await client.begin();
  await client.option(Option.startTls);
  const hello = unhex('16030100' + 'c4' + '010000c00303' + '5a'.repeat(190));
  const record = Buffer.concat([
    unhex(pick(random, ['16', '15', '17', '14', '80']) + '0303' + u16(random.below(20_000))),
    bytesOf(random, random.below(3000)),
  ]);
  const bytes = chance(random, 0.3) ? unhex(ascii('IHAVEOPT')) : Buffer.concat([chance(random, 0.7) ? hello : new Uint8Array(0), record]);
  await sendInPortions(random, client, spoil(random, bytes));
}

export function makeCase(random: Random): FuzzCase {
  const kind = random.below(10);
  if (kind < 4) return { what: 'handshake', tls: chance(random, 0.3), run: client => fuzzHandshake(random, client) };
  if (kind < 8) return { what: 'transmission', tls: false, run: client => fuzzTransmission(random, client) };
  return { what: 'TLS', tls: true, run: client => fuzzTls(random, client) };
}
