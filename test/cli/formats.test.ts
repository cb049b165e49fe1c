import { describe, expect, it } from 'vitest';
import { formatAttachment, nbdUri, qemuArguments, qemuNodeName } from '../../src/cli/formats.js';
import type { AttachmentView } from '../../src/control/schemas.js';

const attachment: AttachmentView = {
  vdisk: 'web1',
  vdiskId: '0a1b2c3d-0000-4000-8000-123456789abc',
  host: 'h1',
  generation: 3,
  sizeBytes: 10 << 20,
  shared: false,
  nbdSocket: '/run/gatepath/nbd.sock',
  nbdTls: null,
  exported: true,
};

describe('formats of an attachment', () => {
  it('uri', () => {
    expect(formatAttachment(attachment, 'uri')).toBe('nbd+unix:///web1?socket=/run/gatepath/nbd.sock');
    expect(nbdUri({ ...attachment, nbdSocket: '/a b/c&d#e;f?g' })).toBe('nbd+unix:///web1?socket=/a%20b/c%26d%23e%3Bf%3Fg');
  });

  it('nbds', () => {
    expect(formatAttachment({ ...attachment, vdisk: 'a b', nbdTls: '[fd00::1]:10809' }, 'nbds')).toBe('nbds://[fd00::1]:10809/a%20b');
    expect(() => formatAttachment(attachment, 'nbds')).toThrow('the datapath of host "h1" serves no other machine');
  });

  it('qemu: requests are held while the endpoint is away, discards reach us, commas are doubled', () => {
    expect(qemuArguments({ ...attachment, nbdSocket: '/a,b/c' })).toBe(
      '-blockdev driver=nbd,node-name=gp-web1,server.type=unix,server.path=/a,,b/c,export=web1,reconnect-delay=86400,discard=unmap,cache.direct=on' +
        ' -device virtio-blk-pci,drive=gp-web1',
    );
    expect(qemuArguments({ ...attachment, nbdSocket: "/it's/c" })).toContain("-blockdev 'driver=nbd,");
  });

  it('a name that QEMU would not take as a node becomes one that stays the same', () => {
    const long = { ...attachment, vdisk: 'v'.repeat(200) };
    expect(qemuNodeName(long)).toBe('gp-0a1b2c3d00004000800012345678');
    expect(qemuNodeName({ ...attachment, vdisk: 'v'.repeat(28) })).toBe(`gp-${'v'.repeat(28)}`);
    expect(qemuNodeName(long)).toHaveLength(31);
  });

  it('libvirt and kernel', () => {
    expect(formatAttachment(attachment, 'libvirt')).toContain("<source protocol='nbd' name='web1'>");
    expect(formatAttachment({ ...attachment, nbdSocket: "/a'b" }, 'libvirt')).toContain("socket='/a&apos;b'");
    expect(formatAttachment(attachment, 'kernel')).toBe(
      'modprobe nbd && nbd-client -unix /run/gatepath/nbd.sock /dev/nbd0 -name web1 -block-size 4096 -connections 2',
    );
  });

  it('a host where no datapath has ever run has none', () => {
    expect(() => nbdUri({ ...attachment, nbdSocket: null })).toThrow('no datapath has ever run at host "h1"');
  });
});
