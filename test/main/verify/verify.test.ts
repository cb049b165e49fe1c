import { randomBytes } from 'node:crypto';
import { copyFileSync, cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LmdbAt, LmdbMetaAt } from '../../../src/base/lmdb-image.js';
import type { Problem, VerifyReport } from '../../../src/main/verify/directory.js';
import { verifyMetadata } from '../../../src/meta/verify.js';
import { StoreImage } from '../../../src/stargate/store/image.js';
import { verifyStore } from '../../../src/stargate/store/verify.js';
import { BatchAt, EntryAt, SegmentAt } from '../../../src/stargate/oplog/layout.js';
import { GatepathUp, runGatepath } from '../../support/gatepath.js';
import { NbdClient } from '../../support/nbd/client.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { DamagedDirectory, type FoundEntry } from './damaged-directory.js';

const MIB = 1 << 20;
const STORE = 'stargate/store/data.mdb';
const META = 'meta/data.mdb';
/** Other vdisks have the other stream. */
const NAMES = ['web1', 'web2', 'web3', 'web4'];

const KINDS = ['format', 'counter', 'layer', 'segment', 'chunk'];

function storeCodes(path: string): string[] {
  const image = new StoreImage(path);
  try {
    return verifyStore(image).map(({ code }) => code);
  } finally {
    image.close();
  }
}

describe('gatepath verify', () => {
  const dir = makeTempDir('verify');
  const data = join(dir, 'data');
  /** As it was after the first run. */
  const old = join(dir, 'old');
  const damaged = new DamagedDirectory(data);
  let stream = '';
  let segment = '';
  let entry: FoundEntry;
  let batchAt = 0;
  let swapAt = 0;
  let extent = '';

  async function withDisks(write: (name: string, client: NbdClient) => Promise<void>, end: (system: GatepathUp) => Promise<void>) {
    const extraArgs = NAMES.slice(1).flatMap(name => ['--vdisk', `${name}:1G`]);
    const system = new GatepathUp({ dataDir: data, vdisk: NAMES[0]!, size: '1G', extraArgs });
    await system.start();
    for (const name of NAMES) {
      const client = await NbdClient.connect({ socket: system.socket }, name);
      await write(name, client);
      await client.disconnect();
    }
    await end(system);
  }

  beforeAll(async () => {
    await withDisks(
      async (_name, client) => {
        await client.write(0, randomBytes(2 * MIB));
        await client.write(100 * MIB, randomBytes(64 << 10));
        await client.trim(MIB, 64 << 10);
      },
      system => system.stop(),
    );
    mkdirSync(old);
    for (const file of ['gatepath.json', 'boot.json', META, STORE, 'stargate/extents', 'stargate/oplog'])
      cpSync(join(data, file), join(old, file), { recursive: true });
    await withDisks(
      async (_name, client) => {
        await client.write(512 << 10, randomBytes(256 << 10));
        await client.write(200 * MIB, randomBytes(64 << 10));
      },
      system => system.stop(),
    );
    await withDisks(
      async (_name, client) => {
        for (let i = 0; i < 8; i++) await client.write(300 * MIB + i * MIB, randomBytes(8 << 10));
      },
      system => system.kill(),
    );
    // Of which streams the vdisks are their ids say.
    const streams = ['0', '1'].map(n => `stargate/oplog/stream-${n}`);
    stream = streams.find(name => damaged.batches(name) !== null)!;
    const { file, batches } = damaged.batches(stream)!;
    segment = file;
    const written = batches.filter(({ entries }) => entries.some(({ kind, payloadBytes }) => kind === 1 && payloadBytes > 0));
    batchAt = written[0]!.at;
    swapAt = written[1]!.at;
    entry = written[0]!.entries.find(({ kind }) => kind === 1)!;
    extent = `stargate/extents/1/0.ext`;
  });
  afterAll(() => removeTempDir(dir));

  it('finds nothing wrong after a kill, and says what it has read; in use it refuses', async () => {
    expect(damaged.problems()).toEqual([]);
    const { code, stdout } = await runGatepath('verify', data);
    expect(stdout).toMatch(/^clean: 4 vdisks, [\d.]+ MiB of log, [\d.]+ MiB of extents$/m);
    expect(code).toBe(0);
    await withDisks(
      async () => {
        const refused = await runGatepath('verify', data);
        expect(refused.code).toBe(1);
        expect(refused.stderr).toMatch(/is in use by pid \d+/);
      },
      system => system.kill(),
    );
    expect(damaged.problems()).toEqual([]);
  });

  /** Named are the file and, where it is known, the vdisk with the range. */
  const named = (problems: readonly Problem[], file: string): boolean =>
    problems.some(problem => `${problem.file} ${problem.message}`.includes(file.split('/').at(-1)!));

  describe('finds another byte in', () => {
    for (const [field, at] of Object.entries(SegmentAt)) {
      it(`${field} of an oplog segment`, () => expect(damaged.withFlipped(segment, at)).toSatisfy(found => named(found, segment)));
    }
    for (const [field, at] of Object.entries(BatchAt)) {
      it(`${field} of a batch`, () => expect(damaged.withFlipped(segment, batchAt + at)).toSatisfy(found => named(found, segment)));
    }
    for (const [field, at] of Object.entries(EntryAt)) {
      it(`${field} of an entry`, () => expect(damaged.withFlipped(segment, entry.at + at)).toSatisfy(found => named(found, segment)));
    }

    it('the payload of an entry, with the range of its vdisk', () => {
      const { vdiskId, offsetBytes, lengthBytes } = entry;
      for (const at of [0, 4095, entry.payloadBytes - 1]) {
        const found = damaged.withFlipped(segment, entry.payloadAt + at, 1);
        expect(found).toContainEqual(expect.objectContaining({ code: 'oplog-rot', vdiskId, offsetBytes, lengthBytes, file: segment }));
        expect(NAMES).toContain(found[0]!.vdisk);
      }
    });

    it('a free segment', () => {
      const free = damaged
        .list(stream)
        .find(name => name.endsWith('.seg') && damaged.read(`${stream}/${name}`).readUInt32LE(SegmentAt.startLsn) === 0)!;
      for (const at of Object.values(SegmentAt))
        expect(damaged.withFlipped(`${stream}/${free}`, at)).toSatisfy(found => named(found, free));
    });

    it('any record of the block store, with the range of its vdisk', () => {
      const records = damaged.records(STORE);
      // Format, counter, layers, segments, chunks.
      expect(new Set([...records.keys()].map(key => key.charCodeAt(0)))).toEqual(new Set([0, 1, 2, 3, 4]));
      const seen = new Set<number>();
      for (const [key, { at, lengthBytes }] of records) {
        const kind = key.charCodeAt(0);
        if (seen.has(kind)) continue;
        seen.add(kind);
        for (let i = 0; i < lengthBytes; i++) {
          const codes = damaged.whileFlipped(STORE, at + i, 0x10, () => storeCodes(join(data, STORE)));
          expect(codes, `byte ${i} of a record of kind ${kind}`).toContain(`store-${KINDS[kind]}`);
        }
        const found = damaged.withFlipped(STORE, at + 5, 0x10);
        expect(found).toContainEqual(expect.objectContaining({ code: `store-${KINDS[kind]}`, file: STORE }));
        if (kind === 4) expect(found).toContainEqual(expect.objectContaining({ vdisk: NAMES[0], offsetBytes: 0, lengthBytes: 64 * 4096 }));
      }
    });

    for (const file of [STORE, META]) {
      it(`a page of the database ${file}`, () => {
        const { meta, root } = damaged.lmdbPages(file);
        const { pageNumber, flags, lower, header, upper, transaction } = LmdbAt;
        // The highest byte: a page may be of any transaction that has been.
        for (const at of [pageNumber, flags, lower, upper + 1, header, transaction + 7])
          expect(damaged.withFlipped(file, root + at), `byte ${at}`).toContainEqual(expect.objectContaining({ file }));
        const trees = { mainRoot: LmdbMetaAt.main + 40, mainEntries: LmdbMetaAt.main + 32, freeRoot: LmdbMetaAt.free + 40 };
        const { main: _, ...fields } = LmdbMetaAt;
        for (const [field, at] of Object.entries({ ...fields, ...trees }))
          expect(damaged.withFlipped(file, meta + at), field).toContainEqual(expect.objectContaining({ file }));
      });
    }

    it('a record of the metadata, with its vdisk', () => {
      const kinds = new Set<string>();
      for (const [key, { at, lengthBytes }] of damaged.records(META)) {
        const kind = key.split('/')[0]!;
        if (kinds.has(kind)) continue;
        kinds.add(kind);
        const name = key.replaceAll('\0', '');
        for (let i = 0; i < lengthBytes; i++) {
          const { findings } = damaged.whileFlipped(META, at + i, 0x20, () => verifyMetadata(join(data, META)));
          expect(findings, `${name}, byte ${i}`).toContainEqual(expect.objectContaining({ code: 'meta-record', key: name }));
        }
        const message: unknown = expect.stringContaining(name);
        expect(damaged.withFlipped(META, at + 9, 1)).toContainEqual(expect.objectContaining({ file: META, message }));
      }
      expect([...kinds]).toEqual(expect.arrayContaining(['!version', 'vdisk', 'vdisk-name', 'group', 'attachment', 'node', 'container']));
    });

    it('an extent, with the range of its vdisk', () => {
      for (const block of [0, 5, 25_600]) {
        expect(damaged.withFlipped(extent, block * 4096 + 17, 1)).toContainEqual(
          expect.objectContaining({ code: 'extent-checksum', file: extent, vdisk: NAMES[0], offsetBytes: block * 4096, lengthBytes: 4096 }),
        );
      }
      for (let at = 0; at < 16; at++)
        expect(damaged.withFlipped('stargate/extents/format', at)).toSatisfy(found => named(found, 'extents'));
    });

    it('the files of the directory itself', () => {
      for (const file of ['gatepath.json', 'boot.json']) {
        const text = damaged.read(file).toString();
        // Without its name the checksum is one that an older version has not written.
        for (let at = 0; at < text.indexOf('"crc"'); at += 3)
          if (!/\s/.test(text[at]!)) expect(damaged.withFlipped(file, at, 1), `${file}, byte ${at}`).not.toEqual([]);
      }
    });
  });

  it('finds blocks, batches and records that have changed places', () => {
    const swapped = (file: string, first: number, second: number, lengthBytes: number) =>
      damaged.withChanged(file, path => damaged.swap(path, first, second, lengthBytes));
    expect(swapped(extent, 0, 4096, 4096)).toContainEqual(expect.objectContaining({ vdisk: NAMES[0], offsetBytes: 0, lengthBytes: 8192 }));
    expect(swapped(segment, batchAt, swapAt, 4096)).toSatisfy(found => named(found, segment));
    const chunks = [...damaged.records(STORE)].filter(([key, { lengthBytes }]) => key.charCodeAt(0) === 3 && lengthBytes === 24);
    expect(swapped(STORE, chunks[0]![1].at, chunks[1]![1].at, 24)).toContainEqual(expect.objectContaining({ code: 'store-segment' }));
  });

  it('finds files that are short, or gone', () => {
    for (const [file, sizeBytes] of [
      [extent, 4096 * 3],
      [segment, batchAt + 4096],
      [STORE, 8192 + 4096],
      [META, 8192 + 4096],
      ['gatepath.json', 20],
      ['boot.json', 5],
    ] as const)
      expect(
        damaged.withChanged(file, path => damaged.truncate(path, sizeBytes)),
        file,
      ).not.toEqual([]);
    for (const file of [extent, segment, STORE, META, 'stargate/extents/format', 'gatepath.json'])
      expect(
        damaged.withChanged(file, path => rmSync(path)),
        file,
      ).not.toEqual([]);
  });

  it('finds files that are there twice', () => {
    const copied = (from: string, to: string, severity: 'error' | 'notice') => {
      copyFileSync(join(data, from), join(data, to));
      try {
        return damaged.problems(severity);
      } finally {
        rmSync(join(data, to));
      }
    };
    expect(copied(segment, `${stream}/00000099.seg`, 'error')).toContainEqual(expect.objectContaining({ code: 'oplog-duplicate' }));
    // Nobody will ever read it.
    expect(copied(extent, 'stargate/extents/1/77.ext', 'notice')).toContainEqual(expect.objectContaining({ code: 'extent-unrecorded' }));
  });

  it('finds files of an earlier day', () => {
    const aged = (file: string) => damaged.withChanged(file, path => copyFileSync(join(old, file), path));
    expect(aged('boot.json')).toContainEqual(expect.objectContaining({ code: 'directory-age', file: 'boot.json' }));
    expect(aged(META)).toContainEqual(expect.objectContaining({ code: 'meta-age', vdisk: NAMES[0] }));
    for (const [offsetBytes, lengthBytes] of [
      [512 << 10, 256 << 10],
      [200 * MIB, 64 << 10],
    ] as const)
      expect(aged(STORE)).toContainEqual(expect.objectContaining({ code: 'store-behind', vdisk: NAMES[0], offsetBytes, lengthBytes }));
    const older = damaged.withChanged(extent, path => copyFileSync(join(old, 'stargate/extents/1/0.ext'), path));
    expect(older).toContainEqual(
      expect.objectContaining({ code: 'extent-checksum', file: extent, offsetBytes: 512 << 10, lengthBytes: 256 << 10 }),
    );
    // The whole log of a day when less had been drained.
    const kept = join(dir, 'kept');
    cpSync(join(data, stream), kept, { recursive: true });
    rmSync(join(data, stream), { recursive: true });
    cpSync(join(old, stream), join(data, stream), { recursive: true });
    expect(damaged.problems()).toContainEqual(expect.objectContaining({ code: 'log-behind' }));
    rmSync(join(data, stream), { recursive: true });
    cpSync(kept, join(data, stream), { recursive: true });
    expect(damaged.problems()).toEqual([]);
  });

  it('says it in lines, in JSON and by its exit status', async () => {
    writeFileSync(join(data, 'stargate/extents/1/0.ext'), Buffer.from([damaged.read(extent)[0]! ^ 1]), { flag: 'r+' });
    const said = await runGatepath('verify', data);
    expect(said.stdout).toMatch(
      /^web1 0\+4096: CRC32C 0x[0-9a-f]{8}, the store has 0x[0-9a-f]{8} at seq \d+ \[extent-checksum, stargate\/extents\/1\/0.ext\]$/m,
    );
    expect(said.stdout).toMatch(/^1 problem: /m);
    expect(said.code).toBe(1);
    const json = await runGatepath('verify', data, '--json');
    expect(json.code).toBe(1);
    const report = JSON.parse(json.stdout) as VerifyReport;
    expect(report.ok).toBe(false);
    expect(report.problems.filter(({ severity }) => severity === 'error')).toMatchObject([
      { vdisk: 'web1', offsetBytes: 0, lengthBytes: 4096 },
    ]);
    for (const args of [['verify'], ['verify', join(dir, 'nothing')], ['verify', dir]]) expect((await runGatepath(...args)).code).toBe(2);
  });
});
