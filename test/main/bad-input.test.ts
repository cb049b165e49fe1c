import { createServer } from 'node:net';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BAD_CONFIGURATION } from '../../src/main/service/exit-status.js';
import { GatepathUp, gatepath, runGatepath } from '../support/gatepath.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

/** Runs a command that must fail: its exit status, and what it says without line breaks. */
async function refused(...args: readonly string[]): Promise<{ readonly status: number | null; readonly says: string }> {
  const { code, stdout, stderr } = await runGatepath(...args);
  expect(stdout).toBe('');
  return { status: code, says: stderr.replace(/\s+/g, ' ').trim() };
}

describe('bad input to a process', () => {
  const dir = makeTempDir('bad');
  afterAll(() => removeTempDir(dir));

  function config(name: string, text: string): string {
    const path = join(dir, name);
    writeFileSync(path, text);
    return path;
  }

  it.each([
    ['a key that is none', 'data: D\nsocket: S\ncahce: 512M\n', 'line 3: cahce: is no key of this configuration'],
    ['a key that is missing', '# a comment\nsocket: S\n', 'line 1: data: it has to be a path'],
    ['a value of the wrong type', 'data: D\nsocket: S\nshards: many\n', 'line 3: shards: it has to be a number'],
    ['a value out of bounds', 'data: D\nsocket: S\n\nshards: 1\n', 'line 4: shards: at least two shards are needed'],
    ['a size that is none', 'data: D\nsocket: S\ncache: 10X\n', 'line 3: cache: "10X" is no size'],
    ['a name with a slash', 'data: D\nsocket: S\nnode: a/b\n', 'line 3: node: a name starts with a letter or digit'],
    ['broken YAML', 'data: D\nsocket: [S\n', 'at line 3'],
  ])('configuration with %s', async (_what, text, message) => {
    const path = config('stargate.yaml', text.replace('data: D', `data: ${dir}/d`).replace('socket: S', `socket: ${dir}/s`));
    const { status, says } = await refused('stargate', '--config', path);
    expect(says).toContain(`error: ${path}`);
    expect(says).toContain(message);
    expect(says).toContain('gatepath config example');
    expect(status).toBe(BAD_CONFIGURATION);
  });

  it('configuration that is not there', async () => {
    const { status, says } = await refused('datapath', '--config', join(dir, 'nowhere.yaml'));
    expect(says).toContain('nowhere.yaml cannot be read: ENOENT');
    expect(status).toBe(BAD_CONFIGURATION);
  });

  it('a directory that is not ours, which stays as it is', async () => {
    const data = join(dir, 'foreign');
    mkdirSync(data);
    writeFileSync(join(data, 'holiday.jpg'), 'dear');
    const { status, says } = await refused('up', '--data', data);
    expect(says).toContain(`${data} is no data directory of Gatepath: it holds "holiday.jpg" and no gatepath.json`);
    expect(status).toBe(1);
    expect(readFileSync(join(data, 'holiday.jpg'), 'utf8')).toBe('dear');
  });

  it('a directory that cannot be made', async () => {
    const { status, says } = await refused('up', '--data', join(config('file', ''), 'data'));
    expect(says).toContain('cannot be made');
    expect(status).toBe(1);
    const nodes = await refused('up', '--nodes', '3', '--data', join(config('file', ''), 'data'));
    expect(nodes).toEqual({
      status: 1,
      says: expect.stringMatching(/file\/data cannot be made: ENOTDIR.* name a directory that you may write to with --data/) as unknown,
    });
    const yaml = config('socket.yaml', `data: ${dir}/d\nsocket: ${config('file', '')}/s\n`);
    const socket = await refused('stargate', '--config', yaml);
    expect(socket.says).toMatch(/no socket can be made in \S+file: EEXIST/);
    expect(socket.status).toBe(BAD_CONFIGURATION);
  });

  it('a data directory of a newer format, which stays as it is', async () => {
    const data = join(dir, 'newer');
    const mark = join(data, 'gatepath.json');
    mkdirSync(data);
    const text = JSON.stringify({ product: 'gatepath', formatVersion: 99, later: 'more' });
    writeFileSync(mark, text);
    const { status, says } = await refused('up', '--data', data);
    expect(says).toContain(`${mark} has format version 99; this version of Gatepath knows versions up to 1`);
    expect(status).toBe(1);
    expect(readFileSync(mark, 'utf8')).toBe(text);
  });

  it('a socket path that is too long', async () => {
    const data = join(dir, 'x'.repeat(120));
    const { status, says } = await refused('up', '--data', data);
    expect(says).toMatch(/the socket path \S+nbd.sock has \d+ bytes; a Unix socket's has at most 107/);
    expect(status).toBe(1);
  });

  it('a socket that is in use', async () => {
    const socket = join(dir, 'used.sock');
    const server = createServer().listen(socket);
    await new Promise(resolve => server.on('listening', resolve));
    const path = config('datapath.yaml', `socket: ${socket}\nstargate: ${dir}/nobody.sock\n`);
    const { status, says } = await refused('datapath', '--config', path);
    server.close();
    expect(says).toContain(`another process listens at ${socket}`);
    expect(status).toBe(1);
  });

  it('a file where the socket should be, which stays as it is', async () => {
    const socket = config('a-file', 'precious');
    const { status, says } = await refused(
      'datapath',
      '--config',
      config('datapath.yaml', `socket: ${socket}\nstargate: ${dir}/nobody.sock\n`),
    );
    expect(says).toContain(`${socket} is there and is no socket`);
    expect(status).toBe(1);
    expect(readFileSync(socket, 'utf8')).toBe('precious');
  });

  it.each([
    [['frobnicate'], "unknown command 'frobnicate'"],
    [['up', '--vdisk', 'demo'], '--vdisk demo: that is not NAME:SIZE'],
    [['up', '--vdisk', 'demo:10X'], '"10X" is no size'],
    [['up', '--shards', '1'], '--shards 1 is not a number from 2 to 64'],
    [['up', '--engine', 'steam'], "argument 'steam' is invalid"],
    [['stargate'], "required option '--config <file>' not specified"],
    [['vdisk', 'create', 'a'], 'a vdisk needs one size'],
    [['vdisk', 'list', '--url', 'ftp://x'], '"ftp://x" is no address of a management API'],
  ])('bad usage: %j', async (args, message) => {
    const { status, says } = await refused(...args);
    expect(says).toContain(message);
    expect(status).toBe(2);
  });

  it('a client verb where nothing runs', async () => {
    const { status, says } = await refused('status', '--data', join(dir, 'nothing'));
    expect(says).toContain('no Gatepath answers at');
    expect(says).toContain('start it with "gatepath up"');
    expect(status).toBe(1);
  });
});

describe('bad input to a running system', () => {
  const dir = makeTempDir('bad');
  const data = join(dir, 'data');
  const system = new GatepathUp({ dataDir: data, vdisk: 'demo', size: '64M' });
  beforeAll(() => system.start());
  afterAll(async () => {
    await system.stop();
    removeTempDir(dir);
  });
  const ask = (...args: readonly string[]) => refused(...args, '--data', data);

  it.each([
    ['0', 'a size of 0 is too small'],
    ['10X', '"10X" is no size'],
    ['1.5G', '"1.5G" is no size'],
    ['8P', '8P is more than a vdisk can have (8 PiB less 4 KiB)'],
    ['99999999999P', 'is more than a vdisk can have'],
  ])('a vdisk of size %s', async (size, message) => {
    const { status, says } = await ask('vdisk', 'create', 'new', size);
    expect(says).toContain(message);
    expect(says).toContain('like 10G');
    expect(status).toBe(2);
  });

  it('a vdisk of a negative size', async () => {
    const { status, says } = await ask('vdisk', 'create', 'new', '--size', '-5G');
    expect(says).toContain('"-5G" is no size');
    expect(status).toBe(2);
  });

  it.each([
    ['a/b', 'a name starts with a letter or digit and has only letters, digits'],
    ['../../etc', 'a name starts with a letter or digit'],
    ['x'.repeat(300), 'a name has at most 255 characters'],
    ['', 'a name needs at least one character'],
    ['ü', 'a name starts with a letter or digit'],
  ])('the name "%s"', async (name, message) => {
    for (const args of [
      ['vdisk', 'create', name, '1G'],
      ['container', 'create', name],
    ]) {
      const { status, says } = await ask(...args);
      expect(says).toContain(message);
      expect(status).toBe(2);
    }
  });

  it('names that are taken', async () => {
    const vdisk = await ask('vdisk', 'create', 'demo', '1G');
    expect(vdisk.says).toContain('there is a vdisk named "demo" already');
    expect(vdisk.status).toBe(1);
    const container = await ask('container', 'create', 'default');
    expect(container.says).toContain('there is a container named "default" already');
    expect(container.status).toBe(1);
  });

  it('a vdisk that does not exist', async () => {
    for (const args of [
      ['vdisk', 'show', 'none'],
      ['vdisk', 'delete', 'none'],
      ['attach', 'none'],
      ['detach', 'none'],
    ]) {
      const { status, says } = await ask(...args);
      expect(says).toContain('there is no vdisk named "none"');
      expect(status).toBe(1);
    }
    const { says } = await ask('vdisk', 'create', 'new', '1G', '--container', 'none');
    expect(says).toContain('there is no container named "none"');
  });

  it('deleting an attached vdisk, which stays', async () => {
    const { status, says } = await ask('vdisk', 'delete', 'demo');
    expect(says).toMatch(/vdisk "demo" is attached at host "[^"]+" detach it first: gatepath detach demo/);
    expect(status).toBe(1);
    expect(await gatepath('vdisk', 'show', 'demo', '--data', data)).toContain('healthy');
  });

  it('attaching at a second host', async () => {
    const { status, says } = await ask('attach', 'demo', '--host', 'elsewhere');
    expect(says).toContain('vdisk "demo" is attached at host');
    expect(status).toBe(1);
  });

  it('a QMP socket where no QEMU is', async () => {
    const { status, says } = await ask('attach', 'demo', '--qmp', join(dir, 'no-qmp'));
    expect(says).toContain(`QMP at ${join(dir, 'no-qmp')}`);
    expect(says).toContain('name the socket of a running QEMU');
    expect(status).toBe(1);
  });

  it('a second process on the data directory is told who holds it', async () => {
    const { status, says } = await refused('up', '--data', data);
    expect(says).toContain(`${data} is in use by pid ${system.process.pid}`);
    expect(says).toContain('gatepath.js up');
    expect(status).toBe(1);
    const config = join(dir, 'stargate.yaml');
    writeFileSync(config, `data: ${data}\nsocket: ${dir}/other.sock\n`);
    expect((await refused('stargate', '--config', config)).says).toContain(`in use by pid ${system.process.pid}`);
  });
});
