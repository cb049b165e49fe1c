import { NbdClient } from '../../support/nbd/client.js';
import { Random } from '../../support/random.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';
import { sleep, waitFor } from '../../support/wait.js';
import { Region, VerifiedLoad, verifyRegions } from '../../crash/load/load.js';
import { Guest } from '../runner/guest.js';
import { DataDisk, type DiskKind } from './data-disk.js';
import { nbdkitWith } from './stand-in.js';

/** A server that runs inside the guest, with its data on the guest's disk. */
export interface GuestServer {
  /** Programs of this machine that the guest needs. */
  readonly programs: readonly string[];
  /** A file system image with what is too large for the initramfs; /app in the guest. */
  readonly appImage?: string;
  /** busybox sh; must leave the server running in the background. /data is the data disk. */
  readonly startScript: string;
  /** Where it serves NBD, in the guest. */
  readonly socket: string;
  readonly exportName: string;
  readonly memoryMiB: number;
}

export interface PowerLossOptions {
  readonly server: GuestServer;
  readonly rounds: number;
  readonly seed: number;
  /** By round, over and over. */
  readonly kinds: readonly DiskKind[];
  readonly maxLoadMs?: number;
  readonly log?: (line: string) => void;
}

export interface PowerLossResult {
  readonly rounds: number;
  readonly acknowledgedWrites: number;
  readonly unanswered: number;
  readonly faults: readonly string[];
}

const MIB = 1024 * 1024;
const NBD_PORT = 10809;
export const POWER_LOSS_EXPORT_SIZE = '64M';
const DATA_DISK_SIZE = '2G';
/** Emulation is slow: Node alone takes many seconds to start. */
const SERVING_TIMEOUT_MS = 400_000;
/** Before the random moment of the cut: a round in which hardly anything was acknowledged shows nothing. */
const MIN_ACKNOWLEDGED_WRITES = 30;
const LOAD_TIMEOUT_MS = 240_000;

/**
 * Rounds of: a guest boots, the server in it recovers, everything acknowledged before is verified, a write load runs from
 * outside, the power goes at a random moment. Acknowledgements are recorded here, outside, when they have come through:
 * what the guest could not tell anybody any more does not count.
 */
export async function runPowerLossRounds(options: PowerLossOptions): Promise<PowerLossResult> {
  const { log = () => undefined } = options;
  const random = new Random(options.seed);
  const dir = makeTempDir('power');
  const regions = [new Region(0, 4096, 2048, 128, options.seed), new Region(32 * MIB, 512, 1024, 64, options.seed)];
  let acknowledgedWrites = 0;
  let unanswered = 0;
  let faults: readonly string[] = [];
  let round = 0;
  try {
    const disk = await DataDisk.create(dir, DATA_DISK_SIZE);
    // One boot more than power cuts: the last one only verifies.
    for (; round <= options.rounds && faults.length === 0; round++) {
      const kind = options.kinds[round % options.kinds.length]!;
      const machine = await bootServer(options.server, disk, kind);
      const verifier = await machine.connect();
      faults = await verifyRegions(verifier, regions, true);
      await verifier.disconnect();
      if (faults.length === 0 && round < options.rounds) {
        const load = new VerifiedLoad({
          connect: machine.connect,
          regions,
          random,
          connections: 2,
          queueDepth: 8,
          maxUnitsPerWrite: 8,
          noFlush: true,
        });
        await load.start();
        const isUnderWay = () => load.counts.acknowledgedWrites >= MIN_ACKNOWLEDGED_WRITES || load.faults.length > 0;
        await waitFor('a load that is under way', LOAD_TIMEOUT_MS, isUnderWay);
        await sleep(random.between(0, options.maxLoadMs ?? 3000));
        await machine.powerCut();
        await load.ended();
        faults = load.faults;
        acknowledgedWrites += load.counts.acknowledgedWrites;
        unanswered += load.counts.unanswered;
        log(
          `power cut ${round + 1} (${kind}): served after ${machine.bootMs} ms, ${load.counts.acknowledgedWrites} writes acknowledged, ${load.counts.unanswered} unanswered`,
        );
      } else {
        await machine.powerCut();
      }
    }
  } finally {
    removeTempDir(dir);
  }
  return { rounds: round - 1, acknowledgedWrites, unanswered, faults };
}

interface Machine {
  readonly bootMs: number;
  connect(): Promise<NbdClient>;
  powerCut(): Promise<void>;
}

async function bootServer(server: GuestServer, disk: DataDisk, kind: DiskKind): Promise<Machine> {
  const startedAt = performance.now();
  const data = await disk.attach(kind);
  const guest = await Guest.boot({
    disks: server.appImage === undefined ? [data] : [data, { kind: 'file', path: server.appImage, readOnly: true }],
    programs: [...server.programs, ...nbdkitWith('plugins/nbdkit-nbd-plugin.so')],
    forwardPorts: [NBD_PORT],
    memoryMiB: server.memoryMiB,
    timeoutMs: SERVING_TIMEOUT_MS * 2,
    script: guestScript(server),
  });
  await guest.waitForOutput(/^serving$/m, SERVING_TIMEOUT_MS);
  const port = await guest.forwardedPort(NBD_PORT);
  const connect = () => NbdClient.connect({ host: '127.0.0.1', port }, server.exportName);
  // The relay may take a moment more to listen, and slirp accepts before it does.
  const probe = await waitFor('NBD through the guest', 30_000, () => connect().catch(() => undefined), 200);
  await probe.disconnect();
  const powerCut = async (): Promise<void> => {
    await Promise.all([guest.powerCut(), disk.powerCut()]);
  };
  return { bootMs: Math.round(performance.now() - startedAt), connect, powerCut };
}

/** nbdkit's nbd plugin is the way in: slirp forwards TCP only. It answers a request when the server behind it has. */
function guestScript(server: GuestServer): string {
  return `
    mkdir -p /data /app
    mount -t ext4 /dev/vda /data || exit 90
    ${server.appImage === undefined ? '' : 'mount -t ext4 -o ro /dev/vdb /app || exit 91'}
    ${server.startScript}
    waited=0
    while [ ! -S ${server.socket} ]; do usleep 100000; waited=$((waited + 1)); [ $waited -lt 1800 ] || exit 92; done
    nbdkit -p ${NBD_PORT} -P /tmp/relay.pid nbd socket=${server.socket} export=${server.exportName} || exit 93
    echo serving
    sleep 100000`;
}
