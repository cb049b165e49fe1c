import { constants } from 'node:os';

const NUMBERS: Readonly<Record<string, number>> = constants.errno;

/** The negative errno of an error of the engine's file system, whose `code` is the errno's name; -EIO for any other. */
export function errnoOf(error: unknown): number {
  const { code } = error as { code?: string };
  return -(NUMBERS[code ?? ''] ?? constants.errno.EIO);
}
