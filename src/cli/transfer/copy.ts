import { GatepathError } from '../../base/errors.js';
import { QEMU_REQUESTS } from './limits.js';
import { complaint, jsonName, objectArgs, qemuImg, type Node } from './qemu.js';

export interface CopyOptions {
  readonly signal: AbortSignal;
  /** 0 to 1; qemu-img tells each hundredth. */
  readonly onShare: (share: number) => void;
}

/** Into something that is there: `isZero` where it is known to be full of zeroes, so that none are written. */
export async function copyInto(source: Node, target: Node, isZero: boolean, options: CopyOptions): Promise<void> {
  await convert(
    [...objectArgs(source, target), '-n', ...(isZero ? ['--target-is-zero'] : []), '-O', 'raw', jsonName(source), jsonName(target)],
    options,
  );
}

/** Into a new image at `path`. `details`: options of its format. */
export async function copyToFile(
  source: Node,
  path: string,
  format: string,
  details: readonly string[],
  options: CopyOptions,
): Promise<void> {
  await convert([...objectArgs(source), '-O', format, ...details.flatMap(one => ['-o', one]), jsonName(source), `file:${path}`], options);
}

async function convert(args: readonly string[], { signal, onShare }: CopyOptions): Promise<void> {
  // Its own caching mode stays what it is: it flushes nothing, and whoever called sees to that, and hears of errors.
  const all = ['convert', '-p', '-W', '-m', String(QEMU_REQUESTS), ...args];
  const ended = await qemuImg(all, { signal, onOutput: text => onShare(lastShare(text)) });
  if (ended.status === 0) return;
  throw new GatepathError('fatal', 'ERR_COPY', `not copied: ${complaint(ended)}`, 'nothing of it is left; see to the cause, and try again');
}

/** `    (12.34/100%)` and a carriage return, again and again. NaN: none in it. */
function lastShare(text: string): number {
  const all = [...text.matchAll(/\((\d+(?:\.\d+)?)\/100%\)/g)];
  return Number(all.at(-1)?.[1]) / 100;
}
