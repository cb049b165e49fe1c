import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { GatepathError } from '../../../base/errors.js';
import { findProgram } from '../../../cli/programs.js';

/** Where `ip netns` keeps them. */
const FOLDER = '/run/netns';
const SWITCH = 'switch';
const BRIDGE = 'br0';
const DEVICE = 'eth0';
const PREFIX_LENGTH = 24;

/** A namespace, and the address in it. */
export interface Place {
  readonly name: string;
  readonly host: string;
}

/**
 * Network namespaces of a cluster on one machine, one for each place, and one with the bridge that joins them: nothing of it is in the machine's own network. Their names begin with
 * what is derived from the data directory: so those that a killed run has left behind are known again, and no others are touched.
 */
export class Namespaces {
  readonly #prefix: string;
  readonly #ip: string;
  readonly #nsenter: string;

  constructor(dataDir: string) {
    if (process.getuid?.() !== 0) {
      throw invalid(
        'ERR_NOT_ROOT',
        'network namespaces are made by root, and this is somebody else',
        'run it as root, or leave --namespaces out',
      );
    }
    this.#ip = programOf('ip', 'iproute2');
    this.#nsenter = programOf('nsenter', 'util-linux');
    this.#prefix = `gp-${createHash('sha256').update(realpathSync(dataDir)).digest('hex').slice(0, 8)}-`;
  }

  nameOf(place: string): string {
    return `${this.#prefix}${place}`;
  }

  /** What stands before a command that is to run there. */
  enter(place: string): readonly string[] {
    return [this.#nsenter, `--net=${join(FOLDER, this.nameOf(place))}`];
  }

  /** All anew: what is there of an earlier run goes first. */
  create(places: readonly Place[]): void {
    this.remove();
    const bridge = this.nameOf(SWITCH);
    this.#add(bridge, [`link add ${BRIDGE} type bridge`, `link set ${BRIDGE} up`, 'link set lo up']);
    for (const { name, host } of places) {
      const namespace = this.nameOf(name);
      this.#add(namespace, [
        'link set lo up',
        `link add ${DEVICE} type veth peer name ${name} netns ${bridge}`,
        `address add ${host}/${PREFIX_LENGTH} dev ${DEVICE}`,
        `link set ${DEVICE} up`,
      ]);
      this.#run(['-n', bridge, '-batch', '-'], `link set ${name} master ${BRIDGE} up\n`);
    }
  }

  /** Their devices go with them, as soon as no process is in one. */
  remove(): void {
    for (const name of namespacesThere()) if (name.startsWith(this.#prefix)) this.#run(['netns', 'delete', name]);
  }

  #add(namespace: string, commands: readonly string[]): void {
    this.#run(['netns', 'add', namespace]);
    this.#run(['-n', namespace, '-batch', '-'], `${commands.join('\n')}\n`);
  }

  #run(args: readonly string[], input = ''): void {
    const { status, stderr, error } = spawnSync(this.#ip, args, { input, encoding: 'utf8' });
    if (status === 0) return;
    const message = `ip ${args.join(' ')}: ${error?.message ?? stderr.trim()}`;
    throw new GatepathError('fatal', 'ERR_NAMESPACES', message, 'see that the kernel has network namespaces, bridges and veth');
  }
}

function namespacesThere(): string[] {
  try {
    return readdirSync(FOLDER);
  } catch {
    return []; // there never was one
  }
}

function programOf(name: string, debianPackage: string): string {
  const found = findProgram(name);
  if (found !== undefined) return found;
  const action = `install it (on Debian and Ubuntu: apt install ${debianPackage}), or leave --namespaces out`;
  throw invalid('ERR_NO_PROGRAM', `network namespaces need the program "${name}", which is not on this machine`, action);
}

const invalid = (code: string, message: string, action: string): GatepathError => new GatepathError('invalid', code, message, action);
