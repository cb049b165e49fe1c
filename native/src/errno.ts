import { constants } from 'node:os';

/** Positive errno values of this system by name, as completions carry them negated. */
export const errno = { ...constants.errno, ECANCELED: constants.errno.ECANCELED, ESHUTDOWN: 108 } as const;

const names = new Map<number, string>(Object.entries(errno).map(([name, value]) => [value, name]));

/** `EIO` for 5 or −5; `E123` for a number without a name. */
export function errnoName(value: number): string {
  return names.get(Math.abs(value)) ?? `E${Math.abs(value)}`;
}

/** The negative errno of an error thrown or passed by Node; -EIO where it has none. */
export function errnoOf(error: unknown): number {
  const value = (error as NodeJS.ErrnoException | null)?.errno;
  if (typeof value === 'number' && value < 0) return value;
  const code = (error as NodeJS.ErrnoException | null)?.code;
  const known = code === undefined ? undefined : (errno as Record<string, number>)[code];
  return -(known ?? errno.EIO);
}
