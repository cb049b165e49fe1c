import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { check, run, TestProcess } from '../../test/support/process.js';
import { program } from '../../test/support/programs.js';
import { waitFor } from '../../test/support/wait.js';

const START_TIMEOUT_MS = 30_000;
const MIB = 1024 * 1024;

/**
 * nfs-ganesha with its VFS back end, in network, mount and process namespaces of its own: rpcbind cannot be limited to
 * loopback, and both want fixed ports and /run. Clients of it run inside too: `inside()`. Needs root.
 */
export class NfsServer {
  private constructor(
    readonly process: TestProcess,
    readonly uri: string,
    private readonly innerPid: number,
  ) {}

  static async start(dir: string, sizeBytes: number): Promise<NfsServer> {
    const exported = join(dir, 'export');
    mkdirSync(exported, { recursive: true });
    // Random data, written out: what is read later comes from a full file, not from holes.
    await check(['dd', 'if=/dev/urandom', `of=${join(exported, 'file')}`, 'bs=1M', `count=${sizeBytes / MIB}`, 'conv=fsync'], {
      timeoutMs: 120_000,
    });
    const config = join(dir, 'ganesha.conf');
    writeFileSync(config, ganeshaConfig(exported));
    const script = [
      'ip link set lo up',
      'mount -t tmpfs tmpfs /run',
      'mkdir -p /run/ganesha /run/rpcbind /run/sendsigs.omit.d',
      `${program('rpcbind')} -f & `,
      `exec ${program('ganesha.nfsd')} -F -f ${config} -L ${join(dir, 'ganesha.log')} -p /run/ganesha/pid -N NIV_EVENT`,
    ].join('\n');
    const server = TestProcess.start([program('unshare'), '-n', '-m', '-p', '--mount-proc', '--fork', '--kill-child', 'sh', '-c', script]);
    const innerPid = await server.waitUntil('the namespaces', START_TIMEOUT_MS, () => firstChild(server.pid));
    const nfs = new NfsServer(server, 'nfs://127.0.0.1/export/file', innerPid);
    await waitFor(
      'nfs-ganesha serves',
      START_TIMEOUT_MS,
      async () => (await run(nfs.inside(['qemu-img', 'info', nfs.uri]))).code === 0,
      300,
    ).catch(async (error: unknown) => {
      const log = readFileSync(join(dir, 'ganesha.log'), 'utf8').split('\n').slice(-20).join('\n');
      await server.kill();
      throw new Error(`${(error as Error).message}\n${server.output}\n${log}`, { cause: error });
    });
    return nfs;
  }

  /** The argument vector that runs a command in the server's namespaces. */
  inside(argv: readonly string[]): readonly string[] {
    return [program('nsenter'), '-t', String(this.innerPid), '-n', '-m', ...argv];
  }

  async stop(): Promise<void> {
    await this.process.kill();
  }
}

function firstChild(pid: number): number | undefined {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return children === '' ? undefined : Number(children.split(' ')[0]);
}

function ganeshaConfig(exported: string): string {
  return `
NFS_CORE_PARAM { Protocols = 3,4; mount_path_pseudo = true; Enable_NLM = false; Enable_RQUOTA = false; }
NFSV4 { Graceless = true; }
EXPORT {
  Export_Id = 1; Path = ${exported}; Pseudo = /export;
  Access_Type = RW; Squash = No_Root_Squash; SecType = sys; Transports = TCP;
  FSAL { Name = VFS; }
}
`;
}
