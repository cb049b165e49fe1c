import { readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { METRICS } from '../../src/control/watch/metrics.js';
import { BAD_CONFIGURATION } from '../../src/main/service/exit-status.js';
import { check, run, TestProcess } from '../support/process.js';
import { gatepath, gatepathArgv, GatepathUp, runGatepath } from '../support/gatepath.js';
import { NbdClient } from '../support/nbd/client.js';
import { missingPrograms } from '../support/programs.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';
import { waitFor } from '../support/wait.js';

const WAIT_MS = 30_000;
const LOOKS = 10;
const LOOK_MS = 100;

function valueOf(text: string, metric: string, ...labels: readonly string[]): number {
  const lines = text.split('\n').filter(line => line.startsWith(`${metric}{`) || line.startsWith(`${metric} `));
  const found = lines.filter(line => labels.every(label => line.includes(label)));
  expect(found.length, `${metric} ${labels.join(' ')}`).toBeGreaterThan(0);
  return found.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

describe('watching gatepath up', () => {
  const dir = makeTempDir('watch');
  const system = new GatepathUp({
    dataDir: dir,
    vdisk: 'demo',
    size: '64M',
    extraArgs: ['--metrics', '0', '--log-level', 'info', '--log-format', 'json'],
  });
  const url = (): string => /"url":"(http:[^"]+)"/.exec(system.process.output)![1]!;
  let client: NbdClient;
  beforeAll(async () => {
    await system.start();
    client = await NbdClient.connect({ socket: system.socket }, 'demo');
    for (let i = 0; i < 20; i++) await client.write(i * 4_096, Buffer.alloc(4_096, i));
    for (let i = 0; i < 10; i++) await client.read(i * 4_096, 4_096);
  });
  afterAll(async () => {
    await client.disconnect();
    await system.stop();
    removeTempDir(dir);
  });

  it('Prometheus is told of each vdisk and hop what was done, and of each metric that is documented', async () => {
    const text = await (await fetch(url())).text();
    for (const { name, type } of METRICS) expect(text, name).toMatch(new RegExp(`^# TYPE ${name} ${type}$`, 'm'));
    expect(valueOf(text, 'gatepath_vdisk_requests_total', 'vdisk="demo"', 'op="write"')).toBe(20);
    expect(valueOf(text, 'gatepath_vdisk_bytes_total', 'op="read"')).toBe(40_960);
    expect(valueOf(text, 'gatepath_vdisk_latency_seconds_count', 'op="write"')).toBe(20);
    expect(valueOf(text, 'gatepath_vdisk_latency_seconds_sum', 'op="write"')).toBeGreaterThan(0);
    expect(valueOf(text, 'gatepath_vdisk_latency_seconds_bucket', 'op="write"', 'le="+Inf"')).toBe(20);
    for (const hop of ['nbd-receive', 'session', 'path', 'controller', 'reply']) {
      expect(valueOf(text, 'gatepath_hop_requests_total', `hop="${hop}"`), hop).toBeGreaterThanOrEqual(30);
      expect(valueOf(text, 'gatepath_hop_queue_seconds_count', `hop="${hop}"`), hop).toBeGreaterThanOrEqual(hop === 'path' ? 0 : 30);
    }
    expect(valueOf(text, 'gatepath_hop_service_seconds_sum', 'hop="oplog"')).toBeGreaterThan(0);
    expect(valueOf(text, 'gatepath_cache_hits_total')).toBeGreaterThanOrEqual(10);
    expect(valueOf(text, 'gatepath_shard_cpu_seconds_total')).toBeGreaterThan(0);
    expect(valueOf(text, 'gatepath_oplog_size_bytes')).toBeGreaterThan(1e8);
    expect(valueOf(text, 'process_resident_memory_bytes')).toBeGreaterThan(1e7);
    expect((await fetch(url().replace('metrics', 'v1/vdisks'))).status).toBe(404);
  });

  it('a drain is counted, with its bytes', async () => {
    const drained = await waitFor('a drain', WAIT_MS, async () => {
      const bytes = valueOf(await (await fetch(url())).text(), 'gatepath_hop_bytes_total', 'hop="drain"');
      return bytes > 0 ? bytes : undefined;
    });
    expect(drained).toBe(20 * 4_096);
  });

  it('of each container, what its vdisks use, and its quota', async () => {
    await gatepath('container', 'set', 'default', '--quota', '64M', '--data', dir);
    const text = await waitFor('an empty log', WAIT_MS, async () => {
      const said = await (await fetch(url())).text();
      return valueOf(said, 'gatepath_vdisk_log_bytes', 'vdisk="demo"') === 0 ? said : undefined;
    });
    expect(valueOf(text, 'gatepath_container_used_bytes', 'container="default"')).toBe(20 * 4_096);
    expect(valueOf(text, 'gatepath_container_quota_bytes', 'container="default"')).toBe(64 << 20);
  });

  it.skipIf(missingPrograms('promtool').length > 0)('promtool has nothing to object', async () => {
    const file = join(dir, 'metrics.txt');
    writeFileSync(file, await (await fetch(url())).text());
    const { code, stdout, stderr } = await run(['sh', '-c', `promtool check metrics < ${file}`]);
    expect(stdout + stderr).toBe('');
    expect(code).toBe(0);
  });

  it('counts do not go back when the vdisk is detached', async () => {
    const metrics = async (): Promise<string> => (await fetch(url())).text();
    const of = (text: string): number => valueOf(text, 'gatepath_hop_requests_total', 'hop="session"');
    await gatepath('vdisk', 'create', 'brief', '1M', '--data', dir);
    await gatepath('attach', 'brief', '--data', dir);
    const other = await NbdClient.connect({ socket: system.socket }, 'brief');
    await other.write(0, Buffer.alloc(4_096, 1));
    await other.disconnect();
    const before = await metrics();
    expect(of(before)).toBeGreaterThanOrEqual(31);
    const served = /^gatepath_vdisk_requests_total\{.*vdisk="brief"/m;
    expect(before).toMatch(served);
    await gatepath('detach', 'brief', '--data', dir);
    await waitFor('the end of its export', WAIT_MS, async () => !served.test(await metrics()));
    // Its session ends a moment later in each shard: what that had counted would go with it.
    for (let look = 0; look < LOOKS; look++) {
      expect(of(await metrics())).toBe(of(before));
      await new Promise(resolve => setTimeout(resolve, LOOK_MS));
    }
  });

  it('top in a pipe: lines for vdisk, hops, shards and node; --json the same as an object', async () => {
    const top = run(gatepathArgv('top', '--once', '--interval', '1', '--data', dir));
    let isOver = false;
    void top.then(() => (isOver = true));
    while (!isOver) await client.write(0, Buffer.alloc(4_096, 9));
    const { stdout, code } = await top;
    expect(code).toBe(0);
    expect(Number(/vdisk demo r\/s=\d+ w\/s=(\d+)/.exec(stdout)![1])).toBeGreaterThan(0);
    expect(stdout).toMatch(/hop oplog .*p99us=[\d.]+/);
    expect(stdout).toMatch(/shard \S+\/0 cpu=\d+%/);
    expect(stdout).toMatch(/node node-1: cache \S+ {2}oplog \d+%/);
    const json = JSON.parse(await gatepath('top', '--once', '--json', '--interval', '0.2', '--data', dir)) as {
      vdisks: { name: string }[];
    };
    expect(json.vdisks.map(({ name }) => name)).toEqual(['demo']);
    expect((await runGatepath('top', '--interval', 'x', '--data', dir)).code).toBe(2);
  });

  it('top goes on in a pipe until the reader has gone', async () => {
    const { stdout, code } = await run([
      'sh',
      '-c',
      `${gatepathArgv('top', '--interval', '0.2', '--data', dir).join(' ')} | grep -m 3 "vdisk demo" | wc -l`,
    ]);
    expect(stdout.trim()).toBe('3');
    expect(code).toBe(0);
  });

  it('top on a terminal takes the whole screen, takes keys, and gives it back', async () => {
    const log = join(dir, 'typescript');
    const command = gatepathArgv('top', '--interval', '0.3', '--data', dir).join(' ');
    await check(['sh', '-c', `(sleep 4; printf 'l?q') | TERM=xterm script -qefc "stty rows 24 cols 80; ${command}" ${log} >/dev/null`]);
    const text = readFileSync(log, 'utf8');
    const [on, off] = ['\x1b[?1049h\x1b[?25l', '\x1b[?25h\x1b[?1049l'];
    expect(text.split(on)).toHaveLength(2);
    expect(text.slice(text.indexOf(on)).split(off)).toHaveLength(2);
    const screens = text.slice(text.indexOf(on)).split('\x1b[H').slice(1);
    expect(screens.some(one => /^demo .*\d/m.test(one) && one.includes('by IOPS') && one.includes('HOP'))).toBe(true);
    expect(screens.some(one => one.includes('by p99'))).toBe(true);
    expect(screens.some(one => one.includes('sort by bandwidth'))).toBe(true);
    for (const one of screens) expect(one.split('\n').length).toBeLessThanOrEqual(24);
  });
});

describe('metrics for other machines', () => {
  const dir = makeTempDir('watch-tls');
  const stargate = (extra: string): string => {
    const file = join(dir, 'stargate.yaml');
    writeFileSync(file, `data: ${dir}/data\nsocket: ${dir}/stargate.sock\noplog: 512M\ncache: 16M\n${extra}\n`);
    return file;
  };
  afterAll(() => removeTempDir(dir));

  it('are refused without TLS, unless the network is trusted', async () => {
    const { code, stderr } = await runGatepath('stargate', '--config', stargate('metrics: 0.0.0.0:0'));
    expect(stderr).toContain('line 5: metrics: whoever reaches 0.0.0.0:0 could read the names of all disks');
    expect(code).toBe(BAD_CONFIGURATION);
  });

  it('who has no certificate of the authority is not told', async () => {
    const ca = join(dir, 'authority');
    await gatepath('cluster', 'init', ca);
    await gatepath('cluster', 'join', ca, '--node', 'node-1', '--host', '127.0.0.1');
    const [cert, key] = ['crt', 'key'].map(kind => readFileSync(join(ca, `node-1.${kind}`)));
    const config = stargate(`metrics: 0.0.0.0:0\ntls: { ca: ${ca}/ca.crt, cert: ${ca}/node-1.crt, key: ${ca}/node-1.key }`);
    const child = TestProcess.start(gatepathArgv('stargate', '--config', config, '--log-format', 'json'));
    await child.waitUntil('metrics', WAIT_MS, () => child.output.includes('"url":"https:'));
    const port = Number(/"url":"https:\/\/0\.0\.0\.0:(\d+)/.exec(child.output)![1]);
    const ask = (certificate: object): Promise<number> =>
      new Promise((resolve, reject) => {
        const options = { host: '127.0.0.1', port, path: '/metrics', rejectUnauthorized: false, ...certificate };
        request(options, response => resolve(response.resume().statusCode!))
          .on('error', reject)
          .end();
      });
    expect(await ask({ cert, key })).toBe(200);
    await expect(ask({})).rejects.toThrow();
    await child.stop(WAIT_MS, 'SIGTERM');
  });
});
