import { Option, type Command } from 'commander';
import { GatepathError } from '../base/errors.js';
import { FORMATS, formatAttachment, type Format } from './formats.js';
import { plugDisk, unplugDisk } from './hotplug.js';
import { printJson } from './output.js';
import { connectSystem, systemOptions, type SystemOptions } from './system.js';

interface AttachOptions extends SystemOptions {
  readonly host?: string;
  readonly format: Format;
  readonly qmp?: string;
  readonly shared?: true;
  readonly json?: true;
}

export function addAttachmentVerbs(program: Command): void {
  systemOptions(program.command('attach <vdisk>'))
    .description('offer a vdisk at a host, and say how a guest gets it')
    .option('--host <host>', 'the host (default: the only one there is)')
    .option('--shared', 'beside the host that holds it, for a live migration: it is read there, until "vdisk activate"')
    .addOption(new Option('--format <format>', 'what to print').choices(FORMATS).default('uri'))
    .option('--qmp <socket>', 'plug it into the running guest with this QMP socket')
    .option('--json', 'everything, as JSON')
    .action(attach);
  systemOptions(program.command('detach <vdisk>'))
    .description('end the attachment of a vdisk')
    .option('--host <host>', 'at which host, where it is attached at two')
    .option('--qmp <socket>', 'unplug it from the running guest with this QMP socket first')
    .action(detach);
}

async function attach(vdisk: string, options: AttachOptions): Promise<void> {
  const { host, shared, qmp } = options;
  const attachment = await (await connectSystem(options)).attach(vdisk, { ...(host && { host }), ...(shared && { shared }) });
  if (!attachment.exported) {
    const why = attachment.nbdSocket === null ? 'no datapath has ever run there' : 'its datapath has not taken it up yet';
    const message = `vdisk "${vdisk}" is attached at host "${attachment.host}", but ${why}`;
    if (qmp !== undefined)
      throw new GatepathError('retryable', 'ERR_NOT_EXPORTED', message, 'see that "gatepath datapath" runs there, and try again');
    console.error(`note: ${message}`);
  }
  if (qmp !== undefined) {
    await plugDisk(qmp, attachment);
    console.log(`vdisk ${vdisk} plugged into the guest at ${qmp}`);
  } else if (options.json) printJson(attachment);
  else if (attachment.nbdSocket !== null) console.log(formatAttachment(attachment, options.format));
  else console.log(`vdisk ${vdisk} attached at ${attachment.host}`);
}

async function detach(vdisk: string, options: SystemOptions & { host?: string; qmp?: string }): Promise<void> {
  const client = await connectSystem(options);
  if (options.qmp !== undefined) {
    const { id } = await client.showVdisk(vdisk);
    await unplugDisk(options.qmp, { vdisk, vdiskId: id });
  }
  const { host, released } = await client.detach(vdisk, options.host === undefined ? {} : { host: options.host });
  console.log(`vdisk ${vdisk} detached from ${host}`);
  if (!released) console.error(`note: the datapath of ${host} has not let go of it yet: it does not run, or is not reached`);
}
