import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { connect, type ConnectionOptions } from 'node:tls';
import { ascii } from '../../../src/nbd-server-ts/test/support/hex.js';
import { encodeOption, encodeRequest, type RawClient } from '../../../src/nbd-server-ts/test/support/raw-client.js';
import type { EndpointKind } from '../peer.js';
import { NotOffered, type Look, type Row } from '../row.js';
import {
  Cmd,
  contextsData,
  Errno,
  infoData,
  openSession,
  Option,
  refusal,
  Rep,
  verdictOf,
  type Session,
} from '../../../src/nbd-server-ts/test/support/session.js';
import { inStep, refused } from './steps.js';

async function tlsClient(
  look: Look,
  kind: EndpointKind,
  before: (client: RawClient, name: string) => Promise<void> = async () => {},
): Promise<RawClient> {
  const client = await look.greeted(kind);
  const { exportName, tls } = await look.endpoint(kind);
  await before(client, exportName);
  assert.deepEqual(await client.option(Option.startTls), [{ option: Option.startTls, type: Rep.ack, data: '' }]);
  await client.startTls(tls!);
  return client;
}

async function inTls(look: Look, kind: EndpointKind): Promise<Session> {
  return openSession(await tlsClient(look, kind), (await look.endpoint(kind)).exportName, {});
}

/** Passes bytes on, and keeps the type of each TLS record that came in. */
class Tapped extends Duplex {
  readonly received: Buffer[] = [];

  constructor(private readonly inner: RawClient['socket']) {
    super();
    inner.on('data', chunk => {
      this.received.push(chunk);
      this.push(chunk);
    });
    inner.on('end', () => this.push(null));
    inner.on('error', error => this.destroy(error));
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.inner.write(chunk, done);
  }

  override _final(done: () => void): void {
    this.inner.end(done);
  }

  recordTypes(): number[] {
    const all = Buffer.concat(this.received);
    const types: number[] = [];
    for (let at = 0; at + 5 <= all.length; at += 5 + all.readUInt16BE(at + 3)) types.push(all[at]!);
    return types;
  }
}

export const TLS_ROWS: readonly Row[] = [
  {
    title:
      'STARTTLS: NOTLS refuses, FORCEDTLS → ERR_TLS_REQD, negotiated state reset after it, a second one → ERR_INVALID; no plaintext injected before it is honoured after it',
    rule: 'MUST',
    checks: {
      NOTLS: async look => {
        const client = await look.greeted();
        await refused(client, Option.startTls, '', Rep.unsupported, Rep.policy);
        await inStep(client, (await look.endpoint()).exportName);
      },
      'with data → ERR_INVALID': async look => {
        const client = await look.greeted('tlsForced');
        const verdict = verdictOf(await client.option(Option.startTls, '00'));
        assert.ok(verdict === Rep.invalid || verdict === Rep.tlsRequired, refusal(verdict));
      },
      FORCEDTLS: async look => {
        const { exportName: name } = await look.endpoint('tlsForced');
        const client = await look.greeted('tlsForced');
        for (const [option, data] of [
          [Option.info, infoData(name)],
          [Option.go, infoData(name)],
          [Option.list, ''],
          [Option.structured, ''],
          [0x7777, '00'],
        ] as const)
          await refused(client, option, data, Rep.tlsRequired);
        const old = await look.greeted('tlsForced');
        old.send(encodeOption(Option.exportName, ascii(name)));
        assert.equal((await old.end()).length, 0);
        const aborting = await look.greeted('tlsForced');
        const abort = verdictOf(await aborting.option(Option.abort));
        assert.ok(abort === Rep.ack || abort === Rep.tlsRequired, refusal(abort));
      },
      'I/O in TLS': async look => {
        const session = await inTls(look, 'tlsForced');
        const payload = Buffer.alloc(3 << 20, 0xa7);
        assert.equal(await session.errno({ type: Cmd.write, offset: 4096, payload }), 0);
        const { data } = await session.perform({ type: Cmd.read, offset: 4096, length: payload.length });
        assert.ok(data.equals(payload));
      },
      'a second one → ERR_INVALID': async look => {
        const client = await tlsClient(look, 'tlsForced');
        await refused(client, Option.startTls, '', Rep.invalid);
        await inStep(client, (await look.endpoint('tlsForced')).exportName);
      },
      'state is reset': async look => {
        const client = await tlsClient(look, 'tlsSelective', async (plain, name) => {
          if (verdictOf(await plain.option(Option.structured)) !== Rep.ack) throw new NotOffered('no structured replies');
          assert.equal(verdictOf(await plain.option(Option.setContexts, contextsData(name, ['base:allocation']))), Rep.ack);
        });
        const session = await openSession(client, (await look.endpoint('tlsSelective')).exportName, {});
        const answer = await session.perform({ type: Cmd.read, length: 512 });
        assert.deepEqual(answer.kinds, ['simple'], 'structured replies of the plain negotiation hold in TLS');
      },
      'contexts are reset': async look => {
        const client = await tlsClient(look, 'tlsSelective', async (plain, name) => {
          if (verdictOf(await plain.option(Option.structured)) !== Rep.ack) throw new NotOffered('no structured replies');
          assert.equal(verdictOf(await plain.option(Option.setContexts, contextsData(name, ['base:allocation']))), Rep.ack);
        });
        const session = await openSession(client, (await look.endpoint('tlsSelective')).exportName, { structured: true });
        assert.equal(await session.errno({ type: Cmd.status, length: 65_536 }), Errno.invalid);
      },
      'nothing injected survives': async look => {
        const client = await look.greeted('tlsForced');
        const { exportName: name, tls } = await look.endpoint('tlsForced');
        client.send(Buffer.concat([encodeOption(Option.startTls), encodeOption(Option.info, infoData(name)), encodeOption(Option.list)]));
        const [ack] = await client.answers().catch(() => [undefined]);
        if (ack === undefined) return;
        assert.equal(ack.type, Rep.ack);
        const secure = await client.startTls(tls!).then(
          () => true,
          () => false,
        );
        if (!secure) return;
        const answers = await client.option(Option.abort);
        assert.deepEqual(answers, [{ option: Option.abort, type: Rep.ack, data: '' }], 'an injected option is answered');
      },
      SELECTIVETLS: async look => {
        const { exportName: name, tlsOnlyName } = await look.endpoint('tlsSelective');
        const client = await look.greeted('tlsSelective');
        await inStep(client, name);
        if (tlsOnlyName === undefined) throw new NotOffered('no export of a SELECTIVETLS server is for TLS alone');
        await refused(client, Option.info, infoData(tlsOnlyName), Rep.tlsRequired);
        await refused(client, Option.go, infoData(tlsOnlyName), Rep.tlsRequired);
        await inStep(client, name);
        const old = await look.greeted('tlsSelective');
        old.send(encodeOption(Option.exportName, ascii(tlsOnlyName)));
        assert.equal((await old.end()).length, 0);
        const secure = await tlsClient(look, 'tlsSelective');
        await inStep(secure, tlsOnlyName);
      },
    },
  },
  {
    title: 'TLS ≥ 1.2; client certificates verified; clean close_notify',
    rule: 'MUST',
    checks: {
      'TLS 1.2 and 1.3': async look => {
        for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
          const client = await look.greeted('tlsForced');
          assert.equal(verdictOf(await client.option(Option.startTls)), Rep.ack);
          await client.startTls({ ...(await look.endpoint('tlsForced')).tls, minVersion: version, maxVersion: version });
          await inStep(client, (await look.endpoint('tlsForced')).exportName);
        }
      },
      'TLS 1.1 is refused': async look => {
        const client = await look.greeted('tlsForced');
        assert.equal(verdictOf(await client.option(Option.startTls)), Rep.ack);
        const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const;
        await assert.rejects(client.startTls({ ...(await look.endpoint('tlsForced')).tls, ...old }));
      },
      'no certificate, no service': async look => {
        const { tls, tlsAnonymous, exportName: name } = await look.endpoint('tlsCertificates');
        const good = await look.greeted('tlsCertificates');
        assert.equal(verdictOf(await good.option(Option.startTls)), Rep.ack);
        await good.startTls(tls!);
        await inStep(good, name);
        await noService(look, name, tlsAnonymous!);
      },
      'a certificate of another authority, no service': async look => {
        const { tlsStranger, exportName: name } = await look.endpoint('tlsCertificates');
        if (tlsStranger === undefined) throw new NotOffered('who is a stranger to it is not known');
        await noService(look, name, tlsStranger);
      },
      'close_notify, after ABORT': look => closesCleanly(look, encodeOption(Option.abort)),
      'close_notify, after DISC': async look => {
        const go = encodeOption(Option.go, infoData((await look.endpoint('tlsForced')).exportName));
        await closesCleanly(look, go, encodeRequest({ type: Cmd.disc }));
      },
    },
  },
];

async function noService(look: Look, name: string, credentials: ConnectionOptions): Promise<void> {
  const client = await look.greeted('tlsCertificates');
  assert.equal(verdictOf(await client.option(Option.startTls)), Rep.ack);
  // With TLS 1.3 the client is done before the server has seen its certificate, or that there is none.
  await assert.rejects(client.startTls(credentials).then(() => client.option(Option.info, infoData(name))));
}

async function closesCleanly(look: Look, ...messages: readonly Uint8Array[]): Promise<void> {
  const client = await look.greeted('tlsForced');
  assert.equal(verdictOf(await client.option(Option.startTls)), Rep.ack);
  client.socket.removeAllListeners('data');
  const tapped = new Tapped(client.socket);
  const secure = connect({ socket: tapped, ...(await look.endpoint('tlsForced')).tls, maxVersion: 'TLSv1.2' });
  await new Promise((resolve, reject) => secure.once('secureConnect', resolve).once('error', reject));
  secure.resume().write(Buffer.concat(messages));
  await new Promise(resolve => secure.once('end', resolve).once('close', resolve).once('error', resolve));
  assert.equal(tapped.recordTypes().at(-1), 21, 'the last record is an alert');
  secure.destroy();
}
