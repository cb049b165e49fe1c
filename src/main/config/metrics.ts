import * as z from 'zod';
import type { MetricsListening } from '../../control/watch/metrics-server.js';
import { formatTcp, isLoopback, portOf } from './fields.js';
import { readNamed } from './named-file.js';
import type { TlsConfig } from './tls.js';

const LOOPBACK = '127.0.0.1';

/** Where Prometheus asks: a port of the loopback interface, or `ADDRESS:PORT`. Port 0: any that is free; the log says which. */
export const metricsAddress = z.union([z.string(), z.number()], 'it has to be a port, or ADDRESS:PORT').transform((value, context) => {
  const text = String(value);
  const found = portOf(/^\d+$/.test(text) ? `${LOOPBACK}:${text}` : text, 0);
  if (found !== null) return found;
  context.addIssue({ code: 'custom', message: `"${text}" is neither a port nor ADDRESS:PORT with a numeric address, like 127.0.0.1:9441` });
  return z.NEVER;
});
export type MetricsAddress = z.infer<typeof metricsAddress>;

interface MetricsConfig {
  readonly metrics?: MetricsAddress | undefined;
  readonly tls?: TlsConfig | undefined;
}

/** The rule of all listeners: what other machines reach is secure, or said to be in a trusted network. Null: it is well. */
export function metricsProblem({ metrics, tls }: MetricsConfig, isTrusted: boolean): string | null {
  if (metrics === undefined || isLoopback(metrics.host) || tls !== undefined || isTrusted) return null;
  return `whoever reaches ${formatTcp(metrics)} could read the names of all disks: give certificates in "tls", which Prometheus has to show too, or listen at 127.0.0.1`;
}

/** Reads the certificates. */
export function metricsListening({ metrics, tls }: MetricsConfig): MetricsListening | null {
  if (metrics === undefined) return null;
  const read = (key: keyof TlsConfig): string => readNamed(`tls.${key}`, tls![key]).toString('utf8');
  const isPlain = tls === undefined || isLoopback(metrics.host);
  return { ...metrics, tls: isPlain ? null : { ca: read('ca'), cert: read('cert'), key: read('key') } };
}
