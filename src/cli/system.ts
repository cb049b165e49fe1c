import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { GatepathError } from '../base/errors.js';
import { ControlClient, type ControlAddress } from '../control/client.js';

export const DEFAULT_DATA = './gatepath-data';

export interface SystemOptions {
  readonly data?: string;
  readonly url?: string;
}

/** Name of a process's management socket: in the data directory of a node, beside the NBD socket of a datapath. */
export const CONTROL_SOCKET = 'control.sock';

/** Options with which every client verb finds the running system. */
export function systemOptions(command: Command): Command {
  return command
    .option('--data <dir>', `data directory of the running system (default: ${DEFAULT_DATA})`)
    .option('--url <url>', 'address of its management API: unix:PATH or http://HOST:PORT');
}

/** Of several nodes, one that answers. */
export async function connectSystem({ data, url }: SystemOptions): Promise<ControlClient> {
  if (url !== undefined) return new ControlClient(parseAddress(url));
  const directory = resolve(data ?? DEFAULT_DATA);
  const [first = `unix:${join(directory, CONTROL_SOCKET)}`, ...others] = addressesIn(directory);
  if (others.length === 0) return new ControlClient(parseAddress(first));
  return ControlClient.ofFirst([first, ...others].map(parseAddress));
}

/** What `gatepath up` says of the system it runs. */
function addressesIn(directory: string): string[] {
  try {
    const file = JSON.parse(readFileSync(join(directory, 'cluster.json'), 'utf8')) as { nodes?: { address?: string }[] };
    return (file.nodes ?? []).flatMap(({ address }) => address ?? []);
  } catch {
    return []; // a single Stargate has none; whether somebody answers is seen in a moment
  }
}

function parseAddress(text: string): ControlAddress {
  if (text.startsWith('unix:')) return { socketPath: text.slice('unix:'.length) };
  if (/^http:\/\/[^/]+\/?$/.test(text) && URL.canParse(text)) return { url: text };
  throw new GatepathError('invalid', 'ERR_URL', `"${text}" is no address of a management API`, 'give unix:PATH or http://HOST:PORT');
}
