import { relative } from 'node:path';
import { formatSize } from '../../base/size.js';
import { nbdUri, qemuArguments } from '../../cli/formats.js';
import type { AttachmentView } from '../../control/schemas.js';

/** What `gatepath up` prints when everything serves. */
export function printGreeting(data: string, attached: readonly AttachmentView[]): void {
  const lines = ['Gatepath is up.', `Data: ${data}`, ''];
  for (const one of attached) {
    lines.push(`vdisk ${one.vdisk}, ${formatSize(one.sizeBytes)}:`);
    lines.push(`  NBD URI   ${nbdUri(one)}`);
    lines.push(`  QEMU      ${qemuArguments(one)}`, '');
  }
  lines.push(...suggestions(data, attached[0]), 'Ctrl-C stops it cleanly.');
  console.log(lines.join('\n'));
}

function suggestions(data: string, first: AttachmentView | undefined): string[] {
  const where = relative(process.cwd(), data) === 'gatepath-data' ? '' : ` --data ${data}`;
  const lines = ['Try next, in another terminal:'];
  if (first !== undefined) {
    lines.push(`  nbdinfo '${nbdUri(first)}'`);
    lines.push(`  nbdcopy disk.img '${nbdUri(first)}'`);
    lines.push(`  npx gatepath attach ${first.vdisk} --qmp /path/to/qmp.sock${where}    # into a running guest`);
  }
  lines.push(`  npx gatepath vdisk create web1 20G${where}`);
  lines.push(`  npx gatepath attach web1 --format qemu${where}`);
  lines.push(`  npx gatepath status${where}`, '');
  return lines;
}
