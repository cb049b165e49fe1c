import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ControlClient } from '../../../src/control/client.js';
import { Authority } from '../../support/certificates.js';
import { gatepath, gatepathArgv, GatepathUp, runGatepath } from '../../support/gatepath.js';
import { check, run, TestProcess, type RunResult } from '../../support/process.js';
import { NbdClient } from '../../support/nbd/client.js';
import { missingNote, missingPrograms } from '../../support/programs.js';
import { seedFromEnvironment } from '../../support/random.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { waitFor } from '../../support/wait.js';
import { KINDS, makeImage, makeRaw, type RawImage } from './images.js';

const missing = missingPrograms('qemu-img', 'qemu-nbd', 'nbdkit', 'openssl');
const seed = seedFromEnvironment();
const BLOCK = 4_096;

describe.skipIf(missing.length > 0)(`import and export, seed ${seed}${missingNote(missing)}`, () => {
  const dir = makeTempDir('xfer');
  const dataDir = join(dir, 'd');
  const system = new GatepathUp({ dataDir, vdisk: 'demo', size: '64M' });
  let raw: RawImage;
  let content: Buffer;

  beforeAll(async () => {
    raw = makeRaw(join(dir, 'disk.raw'), seed);
    content = readFileSync(raw.path);
    await system.start();
  });
  afterAll(async () => {
    await system.stop();
    removeTempDir(dir);
  });

  const at = (name: string): string => join(dir, name);
  const vdisk = (...args: string[]): Promise<string> => gatepath('vdisk', ...args, '--data', dataDir);
  const refused = (...args: string[]): Promise<RunResult> => runGatepath('vdisk', ...args, '--data', dataDir);
  const shell = (script: string, ...args: string[]): Promise<RunResult> =>
    run(['sh', '-c', script, 'sh', ...args, ...gatepathArgv('vdisk')], { timeoutMs: 60_000 });
  const names = async (): Promise<string[]> => (JSON.parse(await vdisk('list', '--json')) as { name: string }[]).map(({ name }) => name);

  /** What it has is the raw image's, and zeroes behind that. */
  function expectContent(found: Buffer): void {
    expect(found.length).toBeGreaterThanOrEqual(content.length);
    expect(found.subarray(0, content.length).equals(content)).toBe(true);
    expect(found.subarray(content.length).every(byte => byte === 0)).toBe(true);
  }

  async function expectVdisk(name: string): Promise<void> {
    const out = at(`${name}.check.raw`);
    rmSync(out, { force: true });
    await vdisk('export', name, out);
    expectContent(readFileSync(out));
    expect(statSync(out).size).toBe(Math.ceil(statSync(out).size / BLOCK) * BLOCK);
  }

  /** Bytes of it that are no holes, as a client sees it. */
  async function allocated(name: string): Promise<number> {
    await gatepath('attach', name, '--data', dataDir);
    const map = await check(['qemu-img', 'map', '--output=json', `nbd+unix:///${name}?socket=${system.socket}`]);
    await gatepath('detach', name, '--data', dataDir);
    const extents = JSON.parse(map) as { length: number; data: boolean; zero: boolean }[];
    return extents.filter(({ data, zero }) => data && !zero).reduce((sum, { length }) => sum + length, 0);
  }

  it.each(KINDS.map(one => [one.name, one] as const))('%s: there and back, byte by byte, and sparse both ways', async (_, kind) => {
    const name = `v${KINDS.indexOf(kind)}`;
    const image = at(`${name}.${kind.extension}`);
    await makeImage(kind, raw, image);
    const told = JSON.parse(await vdisk('import', name, image, '--json')) as Record<string, unknown>;
    expect(told).toMatchObject({ vdisk: name, source: image, format: kind.format });
    expect(await allocated(name)).toBeLessThanOrEqual(raw.dataBytes);
    await expectVdisk(name);
    const back = at(`${name}.back.${kind.extension}`);
    await vdisk('export', name, back);
    await check(['qemu-img', 'convert', '-f', kind.format, '-O', 'raw', back, `${back}.raw`]);
    expectContent(readFileSync(`${back}.raw`));
    // qcow2 and the like have tables, and clusters of 64 KiB; VHD and VHDX have blocks of megabytes.
    if (['qcow2', 'vmdk'].includes(kind.format))
      expect(statSync(back).blocks * 512).toBeLessThan(raw.dataBytes + 26 * 2 * 65_536 + (1 << 20));
  });

  it('raw: there and back, by an odd name, and sparse both ways', async () => {
    const odd = at('odd:name,with "quotes" {and} größe %41.img');
    copyFileSync(raw.path, odd);
    await vdisk('import', 'r', odd);
    expect(await allocated('r')).toBeLessThanOrEqual(raw.dataBytes);
    const back = `${odd}.back,x=y.raw`;
    await vdisk('export', 'r', back);
    expectContent(readFileSync(back));
    expect(statSync(back).blocks * 512).toBeLessThanOrEqual(raw.dataBytes + 64 * 1_024);
    expect(readdirSync(dir).filter(name => name.includes('partial'))).toEqual([]);
  });

  it('streams: of known and unknown length, and out again', async () => {
    const results = [
      await shell('cat "$1" | { shift; "$@" import s1 - --data "$0"; }'.replaceAll('$0', dataDir), raw.path),
      await shell(`cat "$1" | { shift; "$@" import s2 - --size ${raw.sizeBytes} --data ${dataDir}; }`, raw.path),
      await shell(`f="$1"; shift; "$@" import s3 - --data ${dataDir} < "$f"`, raw.path),
    ];
    for (const one of results) expect(one).toMatchObject({ code: 0 });
    for (const name of ['s1', 's2', 's3']) {
      expect(await allocated(name)).toBeLessThanOrEqual(raw.dataBytes);
      expect(JSON.parse(await vdisk('show', name, '--json'))).toMatchObject({ sizeBytes: Math.ceil(raw.sizeBytes / BLOCK) * BLOCK });
      expect(await shell(`out="$1"; shift; "$@" export ${name} - --data ${dataDir} > "$out"`, at(`${name}.out`))).toMatchObject({
        code: 0,
      });
      expectContent(readFileSync(at(`${name}.out`)));
    }
  });

  it('a stream of unknown length has its size for good: after a restart too, and it can be written to its end', async () => {
    expect(await shell(`cat "$1" | { shift; "$@" import s4 - --data ${dataDir}; }`, raw.path)).toMatchObject({ code: 0 });
    await system.stop();
    await system.start();
    const size = Math.ceil(raw.sizeBytes / BLOCK) * BLOCK;
    await gatepath('attach', 's4', '--data', dataDir);
    const uri = `nbd+unix:///s4?socket=${system.socket}`;
    expect(JSON.parse(await check(['qemu-img', 'info', '--output=json', uri]))).toMatchObject({ 'virtual-size': size });
    await check(['qemu-io', '-f', 'raw', '-c', `write -P 7 ${size - BLOCK} ${BLOCK}`, '-c', `read -P 7 ${size - BLOCK} ${BLOCK}`, uri]);
    await gatepath('detach', 's4', '--data', dataDir);
  });

  it.each([
    ['ended before its size', 1],
    ['is longer than its size', -1],
  ])('a stream that %s is refused, and nothing of it is left', async (_, more) => {
    const before = await names();
    const result = await shell(`cat "$1" | { shift; "$@" import short - --size ${raw.sizeBytes + more} --data ${dataDir}; }`, raw.path);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(more > 0 ? `ended after ${raw.sizeBytes} of ${raw.sizeBytes + more} bytes` : 'has more than');
    expect(await names()).toEqual(before);
  });

  it('an NBD export, from and to', async () => {
    const [from, to] = [at('from.sock'), at('to.sock')];
    const target = at('target.raw');
    writeFileSync(target, Buffer.alloc(Math.ceil(raw.sizeBytes / BLOCK) * BLOCK, 0xff));
    const servers = [
      TestProcess.start(['qemu-nbd', '-r', '-t', '-f', 'raw', '-x', 'a disk', '-k', from, raw.path]),
      TestProcess.start(['qemu-nbd', '-t', '-f', 'raw', '-k', to, target]),
    ];
    try {
      for (const [i, socket] of [from, to].entries()) await servers[i]!.waitUntil('its socket', 20_000, () => existsSync(socket));
      await vdisk('import', 'n', `nbd+unix:///a%20disk?socket=${from}`);
      await expectVdisk('n');
      await vdisk('export', 'n', `nbd+unix:///?socket=${to}`);
      expectContent(readFileSync(target));
    } finally {
      for (const server of servers) await server.kill();
    }
  });

  it('an NBD export in TLS, from and to: both sides verified, by the name that was asked for or is said', async () => {
    const [here, there] = [await Authority.create(dir), await Authority.create(dir, 'elsewhere')];
    const folder = async (name: string, { ca }: Authority, ...ends: string[]): Promise<string> => {
      mkdirSync(at(name));
      copyFileSync(ca, join(at(name), 'ca-cert.pem'));
      for (const end of ends) {
        const { cert, key } = await here.issue(`${name}-${end}`);
        copyFileSync(cert, join(at(name), `${end}-cert.pem`));
        copyFileSync(key, join(at(name), `${end}-key.pem`));
      }
      return at(name);
    };
    const [ours, nameless, strange] = [
      await folder('tls-ours', here, 'server', 'client'),
      await folder('tls-nameless', here),
      await folder('tls-strange', there, 'client'),
    ];
    const [from, to, target] = [at('tls-from.sock'), at('tls-to.sock'), at('tls-target.raw')];
    writeFileSync(target, Buffer.alloc(Math.ceil(raw.sizeBytes / BLOCK) * BLOCK, 0xff));
    const creds = `tls-creds-x509,id=t,endpoint=server,verify-peer=yes,dir=${ours}`;
    const servers = [
      TestProcess.start([
        'nbdkit',
        '-f',
        '-r',
        '-U',
        from,
        '--tls=require',
        `--tls-certificates=${ours}`,
        '--tls-verify-peer',
        'file',
        raw.path,
      ]),
      TestProcess.start(['qemu-nbd', '-t', '-f', 'raw', '-k', to, '--object', creds, '--tls-creds', 't', target]),
    ];
    const relay = createServer(client => pipeline(client, connect(from), client, () => undefined)).listen(0, '127.0.0.1');
    try {
      for (const [i, socket] of [from, to].entries()) await servers[i]!.waitUntil('its socket', 20_000, () => existsSync(socket));
      const { port } = relay.address() as AddressInfo;
      const tcp = `nbds://127.0.0.1:${port}/`;
      const unix = `nbds+unix:///?socket=${from}`;
      const cases: [string, RegExp][] = [
        [`${tcp}?tls-certificates=${strange}`, /is not opened: .*certificate/],
        [`${tcp}?tls-certificates=${nameless}`, /is not opened: /],
        [`${tcp}?tls-certificates=${ours}&tls-hostname=other.example`, /is not opened: .*(other\.example|hostname|certificate)/],
        [`${tcp}?tls-certificates=${at('none')}`, /is not opened: .*(none|credentials)/],
        [`nbd+unix:///?socket=${from}`, /is not opened: .*TLS/],
      ];
      const before = await names();
      for (const [uri, text] of cases) {
        const result = await refused('import', 'x', uri);
        expect(result, uri).toMatchObject({ code: 1 });
        expect(result.stderr, uri).toMatch(text);
      }
      expect(await names()).toEqual(before);
      await vdisk('import', 'tls', `${tcp}?tls-certificates=${ours}`);
      await expectVdisk('tls');
      await vdisk('import', 'tls-named', `${unix}&tls-certificates=${ours}&tls-hostname=localhost`);
      await expectVdisk('tls-named');
      // Whoever verifies nobody names nobody either.
      await vdisk('import', 'tls-unverified', `${unix}&tls-certificates=${ours}&tls-hostname=other.example&tls-verify-peer=0`);
      await vdisk('export', 'tls', `nbds+unix:///?socket=${to}&tls-certificates=${ours}&tls-hostname=localhost`);
      expectContent(readFileSync(target));
    } finally {
      relay.close();
      for (const server of servers) await server.kill();
    }
  });

  it.each(KINDS.flatMap(kind => [0.5, 0.95].map(share => [kind.name, share, kind] as const)))(
    '%s that was cut at %d of its length is refused, where that lost anything',
    async (_, share, kind) => {
      const folder = at(`cut-${KINDS.indexOf(kind)}-${share}`);
      mkdirSync(folder);
      const image = join(folder, `i.${kind.extension}`);
      await makeImage(kind, raw, image);
      const file = existsSync(join(folder, 'i-flat.vmdk')) ? join(folder, 'i-flat.vmdk') : image;
      truncateSync(file, Math.floor(statSync(file).size * share));
      const before = await names();
      const result = await refused('import', 'cut', image);
      // What has room behind its data loses nothing with a part of that.
      if (share > 0.9 && result.code === 0) {
        await expectVdisk('cut');
        await vdisk('delete', 'cut');
        return;
      }
      expect(result).toMatchObject({ code: 1, stdout: '' });
      expect(result.stderr).toMatch(/^error: .*(damaged or was cut|is not opened|not copied)/);
      expect(await names()).toEqual(before);
    },
  );

  /** Bytes that the vdisks of the container use, when all of it is in the extents. */
  const settledUse = (container: string): Promise<number> =>
    waitFor('drained', 60_000, async () => {
      const show = await new ControlClient({ socketPath: join(dataDir, 'control.sock') }).showContainer(container);
      return show.logBytes === 0 && show.allocatedBytes;
    });

  it('into a container whose quota does not do: refused at once or as soon as that is seen, nothing is left, and a shrunk vdisk makes room', async () => {
    const full = at('full.raw');
    writeFileSync(full, Buffer.alloc(24 << 20, 7));
    const [tight, inTight] = ['tight', ['--container', 'tight']];
    await gatepath('container', 'create', tight, '--quota', '32M', '--data', dataDir);
    await vdisk('import', 't1', full, ...inTight);
    const before = await names();
    expect(await settledUse(tight)).toBe(24 << 20);
    // It has room for the size, and for a part of the data. Its policy is to wait: an import does not.
    const spent = /is not copied: .*; the quota of container "tight" is used up: .* of 32 MiB.*\n.*nothing of it is left; raise it/;
    for (const result of [
      await refused('import', 't2', full, ...inTight),
      await shell(`f="$1"; shift; "$@" import t2 - --container tight --data ${dataDir} < "$f"`, full),
    ]) {
      expect(result).toMatchObject({ code: 1, stdout: '' });
      expect(result.stderr).toMatch(spent);
      expect(await names()).toEqual(before);
      await waitFor('its space', 60_000, async () => (await settledUse(tight)) === 24 << 20);
    }
    await vdisk('resize', 't1', '8M', '--shrink');
    await waitFor('what was cut off', 60_000, async () => (await settledUse(tight)) === 8 << 20);
    await vdisk('import', 't2', full, ...inTight);
    // Grown again it reads zeroes, and has no space for data.
    await vdisk('resize', 't1', '24M');
    await gatepath('container', 'set', tight, '--enospc', 'error', '--data', dataDir);
    await gatepath('attach', 't1', '--data', dataDir);
    const client = await NbdClient.connect({ socket: system.socket }, 't1');
    expect((await client.read(8 << 20, 1 << 20)).every(byte => byte === 0)).toBe(true);
    await expect(client.write(8 << 20, Buffer.alloc(1 << 20, 1))).rejects.toMatchObject({ errnoCode: 28 });
    await client.write(0, Buffer.alloc(1 << 20, 1));
    await client.disconnect();
    expect(await settledUse(tight)).toBe(32 << 20);
    for (const [args, text] of [
      [['create', 't3', '4M', ...inTight], /quota of container "tight" is used up: .* of 32 MiB/],
      [['import', 't3', full, ...inTight], /quota of container "tight" is used up: .* of 32 MiB/],
      [['resize', 't1', '33M'], /a vdisk of 33 MiB never fits/],
    ] as [string[], RegExp][]) {
      const result = await refused(...args);
      expect(result.code).toBe(1);
      expect(result.stderr).toMatch(text);
    }
    // A vdisk that is deleted counts no more at once.
    await vdisk('delete', 't2');
    await vdisk('create', 't3', '4M', ...inTight);
  });

  it('what is no whole source of its own is refused, with what to do', async () => {
    const [backed, disguised, base] = [at('backed.qcow2'), at('disguised.raw'), at('base.qcow2')];
    await makeImage(KINDS[0]!, raw, base);
    await check(['qemu-img', 'create', '-f', 'qcow2', '-b', base, '-F', 'qcow2', backed]);
    copyFileSync(base, disguised);
    writeFileSync(at('empty.raw'), '');
    const cases: [string[], RegExp, number][] = [
      [['import', 'x', backed], /refers to .*base\.qcow2/, 1],
      [['import', 'x', disguised], /looks like qcow2.*\n.*--format/, 1],
      [['import', 'x', at('empty.raw')], /is empty/, 1],
      [['import', 'x', at('none.raw')], /there is no file/, 1],
      [['import', 'x', dir], /no file and no block device/, 1],
      [['import', 'x', raw.path, '--size', String(raw.sizeBytes + 1)], /has to have/, 1],
      [['import', 'x', raw.path, '--format', 'ntfs'], /no format/, 2],
      [['import', 'demo', raw.path], /already/, 1],
      [['import', '../x', raw.path], /no name/, 2],
      [['import', 'x', 'nbd://host:0/x'], /port/, 2],
      [['import', 'x', 'nbds://host/x'], /tls-certificates/, 2],
      [['import', 'x', 'https://host/x.qcow2'], /only those of NBD.*\n.*import NAME -/, 2],
      [['import', 'x', `nbd+unix:///x?socket=${at('none')}`], /is not opened: .*\n.*its server/, 1],
      [['import', 'x', raw.path, '--size=-5'], /"-5" is no size/, 2],
      [['import', 'x', raw.path, '--size', '9P'], /more than a vdisk can have.*\n.*smaller/, 2],
      [['import', 'x', raw.path, '--container', 'none'], /no container/, 1],
      [['export', 'demo', at('x.raw')], /is attached/, 1],
      [['export', 'none', at('x.raw')], /no vdisk named/, 1],
      [['export', 'n', base], /there is a file/, 1],
      [['export', 'n', '-', '--json'], /no place for JSON/, 2],
    ];
    const before = await names();
    for (const [args, text, code] of cases) {
      const result = await refused(...args);
      expect(result, args.join(' ')).toMatchObject({ code });
      expect(result.stderr, args.join(' ')).toMatch(text);
    }
    expect(await names()).toEqual(before);
    expect(existsSync(at('x.raw'))).toBe(false);
    // Said to be what it is by its name, it is that, whatever it looks like.
    await vdisk('import', 'taken-as-it-is', disguised, '--format', 'raw');
  });
});
