import { hostname } from 'node:os';

/** The machine's host name, made a name of the cluster model. */
export function hostName(): string {
  const usable = hostname()
    .replace(/[^A-Za-z0-9._-]/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 255);
  return usable === '' ? 'host' : usable;
}
