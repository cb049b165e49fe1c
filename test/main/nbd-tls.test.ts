import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { datapathConfig } from '../../src/main/config/datapath.js';
import { nbdSettings } from '../../src/main/config/nbd.js';
import { BAD_CONFIGURATION } from '../../src/main/service/exit-status.js';
import { freePorts } from '../../src/main/up/nodes/ports.js';
import { Certificates } from '../../src/nbd-server-ts/test/support/certificates.js';
import { RawClient } from '../../src/nbd-server-ts/test/support/raw-client.js';
import { infoData, Option, Rep, verdictOf } from '../../src/nbd-server-ts/test/support/session.js';
import { gatepath, gatepathArgv, runGatepath } from '../support/gatepath.js';
import { check, run, TestProcess } from '../support/process.js';
import { missingNote, missingPrograms } from '../support/programs.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

const WAIT_MS = 60_000;
const missing = missingPrograms('openssl', 'nbdinfo', 'nbdcopy');

describe('the section "nbd" of a datapath', () => {
  const problems = (nbd: object): string[] =>
    (datapathConfig.safeParse({ socket: 's', stargate: 't', nbd }).error?.issues ?? []).map(
      ({ path, message }) => `${path.join('.')}: ${message}`,
    );

  it.each([
    [{ listen: '10.0.0.1:10809' }, 'nbd.listen: NBD over TCP is served in TLS alone'],
    [{ tls: { cert: 'c', key: 'k' } }, 'nbd.tls: NBD over TCP is served in TLS alone'],
    [{ listen: '127.0.0.1:10809', tls: { cert: 'c' } }, 'nbd.tls: it needs a certificate and its key'],
    [{ listen: '127.0.0.1:10809', tls: {} }, 'nbd.tls: it needs a certificate and its key'],
    [{ listen: '10.0.0.1:10809', tls: { cert: 'c', key: 'k' } }, 'nbd.tls: whoever reaches this address could read and write all disks'],
    [{ listen: '127.0.0.1:10809', tls: { psk: 'p', clientCa: 'c' } }, 'nbd.tls: "clientCa" needs'],
    [{ listen: '0.0.0.0:10809', tls: { psk: 'p' } }, 'nbd.listen: clients cannot connect to it'],
    [{ listen: 'host:10809', tls: { psk: 'p' } }, 'nbd.listen: "host:10809" is not ADDRESS:PORT'],
    [{ idleTimeoutMs: 10 }, 'nbd.idleTimeoutMs: it has to be 1000 or more'],
    [{ maxConnections: 0 }, 'nbd.maxConnections: at least 1'],
    [{ maxConnections: 5_000 }, 'nbd.maxConnections: at most 1024 are possible'],
    [{ maxReadBytes: '4K' }, 'nbd.maxReadBytes: at least 1M is needed'],
    [{ handshakeTimeoutMs: 1 }, 'nbd.handshakeTimeoutMs: it has to be 100 or more'],
    [{ surprise: 1 }, 'nbd: Unrecognized key: "surprise"'],
  ])('%j', (nbd, problem) => {
    expect(problems(nbd).map(text => text.startsWith(problem))).toContain(true);
  });

  it('limits: what is named goes to the server, the rest is its own', () => {
    const { nbd } = datapathConfig.parse({ socket: 's', stargate: 't', nbd: { idleTimeoutMs: 'never', maxReadBytes: '8M' } });
    expect(nbdSettings(nbd)).toEqual({ limits: { idleTimeoutMs: 0, maxReadBytes: 8 << 20 }, tcp: null });
    expect(nbdSettings(datapathConfig.parse({ socket: 's', stargate: 't' }).nbd)).toEqual({ limits: {}, tcp: null });
  });
});

describe.skipIf(missing.length > 0)(`NBD over TCP, in TLS${missingNote(missing)}`, () => {
  const dir = makeTempDir('nbds');
  const children: TestProcess[] = [];
  afterAll(async () => {
    for (const child of children) await child.kill();
    removeTempDir(dir);
  });
  const write = (name: string, text: string): string => {
    const file = join(dir, name);
    writeFileSync(file, text);
    return file;
  };
  const start = (part: string, config: object): TestProcess => {
    const child = TestProcess.start(gatepathArgv(part, '--config', write(`${part}.yaml`, stringify(config))));
    children.push(child);
    return child;
  };

  it('a client with a certificate has the disk, one without has nothing; guests of the host go on over the Unix socket', async () => {
    mkdirSync(dir, { recursive: true });
    const data = join(dir, 'data');
    const sockets = { socket: join(dir, 'nbd.sock'), stargate: join(dir, 'stargate.sock') };
    const certificates = Certificates.make(dir);
    const pem = (name: string): string => join(dir, `${name}.pem`);
    const tls = { cert: pem('server-cert'), key: pem('server-key'), clientCa: pem('ca-cert') };
    const stargate = start('stargate', { data, socket: sockets.stargate });
    await stargate.waitUntil('the control API', WAIT_MS, async () => (await runGatepath('status', '--data', data)).code === 0);
    await gatepath('vdisk', 'create', 'demo', '16M', '--data', data);
    await gatepath('attach', 'demo', '--data', data);

    const broken = start('datapath', { ...sockets, nbd: { listen: '127.0.0.1:1', tls: { psk: write('psk', 'alice:nothex\n') } } });
    expect(await broken.exited).toMatchObject({ code: BAD_CONFIGURATION });
    expect(broken.stderr).toContain('nbd.tls.psk: line 1 of');

    const [port] = await freePorts(1);
    const datapath = start('datapath', { ...sockets, nbd: { listen: `127.0.0.1:${port!}`, tls, handshakeTimeoutMs: 3_000 } });
    const uri = `nbds://localhost:${port!}/demo?tls-certificates=${dir}`;
    await datapath.waitUntil('a client in TLS', WAIT_MS, async () => (await run(['nbdinfo', '--size', uri])).code === 0);
    expect((await gatepath('attach', 'demo', '--format', 'nbds', '--data', data)).trim()).toBe(`nbds://127.0.0.1:${port!}/demo`);

    const image = write('image', 'a line of the disk\n'.repeat(100_000));
    await check(['nbdcopy', '--connections=4', image, uri]);
    await check(['nbdcopy', `nbd+unix:///demo?socket=${sockets.socket}`, join(dir, 'back')]);
    await check(['cmp', '-n', '1900000', image, join(dir, 'back')]);

    const address = { host: '127.0.0.1', port: port! };
    const plain = await RawClient.connect(address);
    await plain.begin();
    expect(verdictOf(await plain.option(Option.go, infoData('demo')))).toBe(Rep.tlsRequired);
    plain.destroy();
    const stranger = await RawClient.connect(address);
    await stranger.begin();
    expect(verdictOf(await stranger.option(Option.startTls))).toBe(Rep.ack);
    await stranger.startTls({ ...certificates.anonymous, maxVersion: 'TLSv1.2' }).then(
      () => stranger.end(),
      () => undefined,
    );
    stranger.destroy();
    // The handshake's time-out is the configured one: the default would outlast this client's patience.
    const silent = await RawClient.connect(sockets.socket);
    await silent.end();
    for (const child of children.splice(0).reverse())
      if (child !== broken) expect(await child.stop(WAIT_MS, 'SIGTERM')).toMatchObject({ code: 0 });
  });
});
