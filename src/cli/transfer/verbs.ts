import type { Command } from 'commander';
import { formatSize, parseSize } from '../../base/size.js';
import { printJson } from '../output.js';
import { connectSystem, systemOptions, type SystemOptions } from '../system.js';
import { exportVdisk } from './export.js';
import { importedText, importVdisk } from './import.js';
import { interruptible } from './interruption.js';
import { FORMATS, parsePlace, usage } from './place.js';

interface TransferOptions extends SystemOptions {
  readonly format?: string;
  readonly host?: string;
  readonly json?: true;
}

const PLACES = 'a file, an NBD URI (nbd://, nbds://, nbd+unix://), or -';

export function addTransferVerbs(vdisk: Command): void {
  systemOptions(vdisk.command('import <name> <source>'))
    .description(`make a vdisk of SOURCE: ${PLACES} for standard input. It is there when it is whole`)
    .option('--format <format>', `of a file, where its name does not say it: ${FORMATS.join(', ')}`)
    .option('--size <size>', 'what the source has to have; another size is refused')
    .option('--container <container>', 'the container it is to live in (default: default)')
    .option('--host <host>', 'the host of this machine, where there are several')
    .option('--json', 'the result as JSON')
    .action(async (name: string, text: string, options: TransferOptions & { size?: string; container?: string }) => {
      const { format, size, container, host, json } = options;
      const from = parsePlace(text, format);
      const sizeBytes = size === undefined ? null : parseSize(size);
      const beginMs = performance.now();
      const wish = { name, from, sizeBytes, ...(container === undefined ? {} : { container }), ...(host === undefined ? {} : { host }) };
      const imported = await interruptible(signal => importVdisk(() => connectSystem(options), wish, signal));
      const seconds = (performance.now() - beginMs) / 1_000;
      if (!json) return console.log(importedText(imported, seconds));
      const { id, sizeBytes: vdiskBytes } = imported.vdisk;
      printJson({
        vdisk: name,
        vdiskId: id,
        sizeBytes: vdiskBytes,
        source: text,
        format: formatOf(from),
        sourceBytes: imported.bytes,
        seconds,
      });
    });
  systemOptions(vdisk.command('export <name> <target>'))
    .description(`copy a vdisk to TARGET: ${PLACES} for standard output. Refused while it is attached`)
    .option('--format <format>', `of a file, where its name does not say it: ${FORMATS.join(', ')}`)
    .option('--host <host>', 'the host of this machine, where there are several')
    .option('--json', 'the result as JSON')
    .action(async (name: string, text: string, options: TransferOptions) => {
      const { format, host, json } = options;
      const to = parsePlace(text, format);
      if (to.kind === 'stream' && json) throw usage('standard output has the data: there is no place for JSON', 'leave out --json');
      const beginMs = performance.now();
      const { sizeBytes } = await interruptible(signal =>
        exportVdisk(() => connectSystem(options), { name, to, ...(host === undefined ? {} : { host }) }, signal),
      );
      const seconds = (performance.now() - beginMs) / 1_000;
      if (json) printJson({ vdisk: name, sizeBytes, target: text, format: formatOf(to), seconds });
      else if (to.kind !== 'stream') console.log(`vdisk ${name} exported to ${text}: ${formatSize(sizeBytes)} in ${seconds.toFixed(1)} s`);
    });
}

const formatOf = (place: ReturnType<typeof parsePlace>): string => (place.kind === 'file' ? place.format : 'raw');
