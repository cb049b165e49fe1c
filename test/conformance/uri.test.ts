import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseUri } from './uri.js';

describe('an NBD URI', () => {
  it.each([
    ['nbd://example.org', { host: 'example.org', port: 10_809 }, ''],
    ['nbd://example.org/', { host: 'example.org', port: 10_809 }, ''],
    ['nbd://example.org:2000/disk', { host: 'example.org', port: 2_000 }, 'disk'],
    ['nbd://[::1]/disk', { host: '::1', port: 10_809 }, 'disk'],
    ['NBD://[::1]:10', { host: '::1', port: 10 }, ''],
    ['nbd:///disk', { host: 'localhost', port: 10_809 }, 'disk'],
    ['nbd://h:/disk', { host: 'h', port: 10_809 }, 'disk'],
    ['nbd://h/a/../b', { host: 'h', port: 10_809 }, 'a/../b'],
    ['nbd://h/%2E%2E', { host: 'h', port: 10_809 }, '..'],
    ['nbd://h/a+b', { host: 'h', port: 10_809 }, 'a+b'],
    ['nbd+unix:///?socket=/tmp/a+b', '/tmp/a+b', ''],
    ['nbd+unix:///?socket=%00abstract', '\0abstract', ''],
    ['nbd://h//absolute', { host: 'h', port: 10_809 }, '/absolute'],
    ['nbd://h/%C3%A9%20%2F%23%3F', { host: 'h', port: 10_809 }, 'é /#?'],
    ['nbd+unix:///?socket=/tmp/s', '/tmp/s', ''],
    ['nbd+unix:///disk?socket=/tmp/a%20b%26c', '/tmp/a b&c', 'disk'],
  ])('%s', (text, target, exportName) => {
    expect(parseUri(text)).toEqual({ target, exportName, tls: null });
  });

  it('with TLS: whom to trust and who one is, by libnbd’s names', () => {
    const directory = mkdtempSync(join(tmpdir(), 'nbd-uri-'));
    for (const name of ['ca-cert', 'client-cert', 'client-key']) writeFileSync(join(directory, `${name}.pem`), name);
    const [ca, cert, key] = ['ca-cert', 'client-cert', 'client-key'].map(text => Buffer.from(text));
    const ofHost = parseUri(`nbds://h/x?tls-type=x509&tls-certificates=${directory}`);
    expect(ofHost.target).toEqual({ host: 'h', port: 10_809 });
    expect(ofHost.tls).toEqual({ ca, cert, key, servername: 'h', rejectUnauthorized: true });
    rmSync(join(directory, 'client-key.pem'));
    rmSync(join(directory, 'client-cert.pem'));
    const uri = `nbds+unix:///x?socket=/s&tls-certificates=${directory}&tls-hostname=other&tls-verify-peer=false`;
    expect(parseUri(uri)).toEqual({ target: '/s', exportName: 'x', tls: { ca, servername: 'other', rejectUnauthorized: false } });
    rmSync(directory, { recursive: true });
  });

  it.each([
    ['disk', /no URI/],
    ['http://h/x', /scheme http /],
    ['nbd://h/x?sokcet=/s', /unknown query "sokcet"/],
    ['nbd://h/x?socket=/s', /unknown query "socket"/],
    ['nbd+unix:///x?tls-certificates=/c&socket=/s', /unknown query "tls-certificates"/],
    ['nbd+unix:///x', /needs one \?socket/],
    ['nbd+unix:///x?socket=', /needs one \?socket/],
    ['nbd+unix:///x?socket=/a&socket=/b', /stands twice/],
    ['nbd+unix:///x?socket=%FF', /not UTF-8/],
    ['nbd+vsock://2/x', /scheme nbd\+vsock/],
    ['nbd://h:65536/x', /port is from 1/],
    ['nbd://h:0/x', /port is from 1/],
    ['nbd://h:port/x', /no HOST/],
    ['nbd://h/a b', /%XX/],
    ['nbd://h/é', /%XX/],
    ['nbd://h/%4', /%XX/],
    ['nbds://h/x?tls-type=psk', /tls-type is x509/],
    ['nbds://h/x?tls-psk-file=/f', /unknown query "tls-psk-file"/],
    ['nbd+unix://h/x?socket=/a', /on this machine/],
    ['nbd://h/%FF', /not UTF-8/],
    ['nbd://h/a%00', /NUL/],
    [`nbd://h/${'x'.repeat(4_097)}`, /too long/],
    ['nbd://h/a#b', /%23/],
    ['nbds://me@h/x', /pre-shared key/],
    ['nbds://h/x?tls-verify-peer=maybe', /1 \(true\) or 0/],
    ['nbds://h/x?tls-certificates=/none', /no ca-cert/],
  ])('%s is refused', (text, why) => {
    expect(() => parseUri(text)).toThrow(why);
  });
});
