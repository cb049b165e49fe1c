import type { Command } from 'commander';
import { GatepathError } from '../base/errors.js';
import { formatSize, parseSize } from '../base/size.js';
import type { ControlClient } from '../control/client.js';
import type { ResizeView } from '../control/vdisk-schemas.js';
import { printJson } from './output.js';
import { resizeInGuest } from './qemu-resize.js';
import { connectSystem, systemOptions, type SystemOptions } from './system.js';

interface ResizeOptions extends SystemOptions {
  readonly shrink?: true;
  readonly qmp?: string;
  readonly json?: true;
}

export function addResizeVerb(vdisk: Command): void {
  systemOptions(vdisk.command('resize <name> <size>'))
    .description('make a vdisk longer or shorter while it is in use; SIZE like 20G, rounded up to 4 KiB')
    .option('--shrink', 'make it shorter: what lies behind the new end is cut off, for good')
    .option('--qmp <socket>', 'tell the running guest with this QMP socket too')
    .option('--json', 'what was done, as JSON')
    .action(resize);
}

async function resize(name: string, size: string, options: ResizeOptions): Promise<void> {
  const { shrink, qmp, json } = options;
  const client = await connectSystem(options);
  if (qmp !== undefined) await refuseUnattached(client, name);
  const done = await client.resizeVdisk(name, { sizeBytes: parseSize(size), ...(shrink && { shrink }) });
  if (json) printJson(done);
  else print(done, qmp !== undefined);
  if (qmp === undefined) return;
  await resizeInGuest(qmp, await attachmentAt(client, done), done.sizeBytes);
  if (!json) console.log(`the guest at ${qmp} has been told`);
}

/** Before anything is done: to attach it for a guest that does not have it would help nobody. */
async function refuseUnattached(client: ControlClient, name: string): Promise<void> {
  if ((await client.showVdisk(name)).attachments.length > 0) return;
  const message = `vdisk "${name}" is attached nowhere, so that no guest has it`;
  throw new GatepathError('invalid', 'ERR_NOT_ATTACHED', message, 'leave out --qmp; whoever attaches it later sees its new size');
}

/** That of the datapath whose guest it is: where the vdisk is attached already, attaching changes nothing. */
function attachmentAt(client: ControlClient, { vdisk, hosts }: ResizeView) {
  return client.attach(vdisk, hosts.length === 1 ? { host: hosts[0]!.host } : {});
}

function print({ vdisk, beforeBytes, sizeBytes, cutBytes, isRecorded, hosts }: ResizeView, tellsGuest: boolean): void {
  const from = formatSize(beforeBytes);
  console.log(
    beforeBytes === sizeBytes ? `vdisk ${vdisk} has ${from} already` : `vdisk ${vdisk} resized, ${from} to ${formatSize(sizeBytes)}`,
  );
  if (sizeBytes < beforeBytes) console.log(`cut off: ${formatSize(beforeBytes - sizeBytes)}, with ${formatSize(cutBytes)} of data`);
  if (!isRecorded) console.error('note: the metadata does not have it yet, so nobody who attaches it sees it; it follows by itself');
  for (const { host, isOffered } of hosts) {
    if (isOffered) console.log(`host ${host}: new NBD connections see ${formatSize(sizeBytes)}`);
    else console.error(`note: the datapath of ${host} does not offer that size yet: it does not run, or is not reached`);
  }
  if (hosts.length === 0 || tellsGuest) return;
  console.log('clients that are connected are not told by NBD, and keep the size that they know until they connect again:');
  console.log('  a guest of QEMU: gatepath vdisk resize NAME SIZE --qmp SOCKET tells it, now or later; or it is restarted');
  console.log('  the kernel (nbd.ko): nbd-client -d /dev/nbdX, then connect again');
}
