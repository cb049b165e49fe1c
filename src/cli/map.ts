import type { Command } from 'commander';
import { formatSize } from '../base/size.js';
import type { MapView } from '../control/vdisk-schemas.js';
import { printJson } from './output.js';
import { connectSystem, systemOptions, type SystemOptions } from './system.js';

type Range = MapView['ranges'][number];

export function addMapVerb(vdisk: Command): void {
  systemOptions(vdisk.command('map <name>'))
    .description('what a vdisk has allocated: data, zero (trimmed or zeroed) and hole (never written), and what its copies take')
    .option('--json', 'as JSON')
    .action(map);
}

async function map(name: string, options: SystemOptions & { readonly json?: true }): Promise<void> {
  const client = await connectSystem(options);
  const bytes = { data: 0, zero: 0, hole: 0 };
  const first = await client.mapVdisk(name, 0);
  const { vdisk, copies } = first;
  const ranges: Range[] = [];
  let last: Range | undefined;
  if (!options.json) console.log(columns('OFFSET', 'LENGTH', 'STATE'));
  const end = (range: Range): void => {
    bytes[range.state] += range.lengthBytes;
    if (options.json) ranges.push(range);
    else console.log(columns(String(range.offsetBytes), String(range.lengthBytes), range.state));
  };
  let part = first;
  for (;;) {
    for (const range of part.ranges) {
      // It may go on from one part into the next.
      if (last !== undefined && last.state === range.state) last = { ...last, lengthBytes: last.lengthBytes + range.lengthBytes };
      else {
        if (last !== undefined) end(last);
        last = range;
      }
    }
    if (part.nextBytes === null) break;
    part = await client.mapVdisk(name, part.nextBytes);
  }
  if (last !== undefined) end(last);
  const { sizeBytes } = part;
  if (options.json) return printJson({ vdisk, sizeBytes, ranges, bytes, copies });
  const { data, zero, hole } = bytes;
  console.log(`${formatSize(sizeBytes)}: data ${formatSize(data)}, zero ${formatSize(zero)}, hole ${formatSize(hole)}`);
  for (const { node, allocatedBytes } of copies)
    console.log(`copy on ${node}: ${allocatedBytes === null ? 'not known' : `${formatSize(allocatedBytes)} in its extents`}`);
}

const columns = (offset: string, length: string, state: string): string => `${offset.padStart(16)} ${length.padStart(16)}  ${state}`;
