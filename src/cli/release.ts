import type { Command } from 'commander';
import { printJson } from './output.js';
import { connectSystem, systemOptions, type SystemOptions } from './system.js';

export function addReleaseVerb(vdisk: Command): void {
  systemOptions(vdisk.command('release <name>'))
    .description(
      'let the requests of a quarantined vdisk go on: two controllers have died of it, and will again unless what they died of has been mended',
    )
    .option('--json', 'what was released, as JSON')
    .action(async (name: string, { json = false, ...system }: SystemOptions & { json?: boolean }) => {
      const released = await (await connectSystem(system)).releaseVdisk(name);
      if (json) return printJson(released);
      const { nodes, requests, at, host } = released;
      console.log(`vdisk ${name} is released; it was quarantined at ${at} by host ${host}, when ${nodes.join(' and ')} had died with`);
      for (const { op, offsetBytes, lengthBytes } of requests) console.log(`  a ${op} of ${lengthBytes} bytes at ${offsetBytes}`);
    });
}
