import { statSync } from 'node:fs';
import { extname, resolve } from 'node:path';
import { GatepathError } from '../../base/errors.js';
import { parseNbdUri, type NbdUri } from '../../nbd-client/uri.js';

/** Formats of images, by qemu's names. */
export const FORMATS = ['raw', 'qcow2', 'vmdk', 'vpc', 'vhdx', 'vdi'] as const;
export type Format = (typeof FORMATS)[number];

const BY_EXTENSION: Readonly<Record<string, Format>> = {
  '.qcow2': 'qcow2',
  '.qcow': 'qcow2',
  '.vmdk': 'vmdk',
  '.vhd': 'vpc',
  '.vpc': 'vpc',
  '.vhdx': 'vhdx',
  '.vdi': 'vdi',
};
/** As people call them. */
const ALIASES: Readonly<Record<string, Format>> = { vhd: 'vpc' };

/** Where an import comes from, or an export goes to. */
export type Place =
  | { readonly kind: 'stream' }
  | { readonly kind: 'nbd'; readonly uri: NbdUri; readonly text: string }
  | {
      readonly kind: 'file';
      /** Absolute. */
      readonly path: string;
      readonly isDevice: boolean;
      readonly format: Format;
      /** Said by somebody, not by the name of the file. */
      readonly isSaid: boolean;
    };

/** `-`, an NBD URI, or else a file: one that looks like a URI is written ./nbd:... Throws what is wrong with it. */
export function parsePlace(text: string, wanted: string | undefined): Place {
  if (text === '') throw usage('an empty name is no file', 'give a file, an NBD URI, or "-"');
  const said = wanted === undefined ? undefined : parseFormat(wanted);
  const isUri = /^nbds?(\+unix)?:/i.test(text);
  if ((text === '-' || isUri) && said !== undefined && said !== 'raw') {
    const what = text === '-' ? 'a stream' : 'an NBD export';
    throw usage(`${what} is raw, not ${said}`, `leave out --format, or use a file for ${said}`);
  }
  if (text === '-') return { kind: 'stream' };
  if (isUri) return nbdPlace(text);
  if (/^[a-z][a-z\d+.-]*:\/\//i.test(text)) {
    throw usage(
      `${text}: of URIs only those of NBD are known here`,
      'get the file first, or pipe it: curl URL | gatepath vdisk import NAME -',
    );
  }
  if (text.includes('\0')) throw usage('the name of a file has no NUL', 'give another file');
  const path = resolve(text);
  const isDevice = statSync(path, { throwIfNoEntry: false })?.isBlockDevice() === true;
  return { kind: 'file', path, isDevice, format: said ?? BY_EXTENSION[extname(path).toLowerCase()] ?? 'raw', isSaid: said !== undefined };
}

export function parseFormat(text: string): Format {
  const name = text.toLowerCase();
  const found = ALIASES[name] ?? FORMATS.find(format => format === name);
  if (found !== undefined) return found;
  throw usage(`"${text}" is no format that is known here`, `use one of ${FORMATS.join(', ')}`);
}

function nbdPlace(text: string): Place {
  const uri = parseNbdUri(text);
  if (uri.tls !== null && uri.tls.certificates === null) {
    throw usage(
      `${text}: whom to trust is not said`,
      'add ?tls-certificates=DIR, of a folder with ca-cert.pem (and client-cert.pem, client-key.pem)',
    );
  }
  return { kind: 'nbd', uri, text };
}

export const usage = (message: string, action: string): GatepathError => new GatepathError('invalid', 'ERR_USAGE', message, action);
