import { GatepathError } from '../base/errors.js';
import { META_KEY } from '../wire/meta.js';
import type { EtcdCredentials } from './etcd-endpoint.js';

const MAX_ENDPOINTS = 16;
const MAX_NAMESPACE_LENGTH = 256;

export interface EtcdOptions extends Partial<EtcdCredentials> {
  /** `https://HOST:PORT` of each member of the cluster, or `http://` without TLS. */
  readonly endpoints: readonly string[];
  /** Before all keys: what else is in this etcd is neither seen nor touched. Ends in "/". */
  readonly namespace?: string;
  /** A request is given up (MetaUnavailable) after so long. */
  readonly requestTimeoutMs?: number;
}

/** Gives the URLs of the members. Throws GatepathError ERR_ETCD_OPTIONS. */
export function checkEtcdOptions({ endpoints, namespace, tls, user }: EtcdOptions): string[] {
  if (endpoints.length === 0 || endpoints.length > MAX_ENDPOINTS) throw invalid(`etcd needs 1 to ${MAX_ENDPOINTS} endpoints`);
  const urls = [...new Set(endpoints.map(endpointUrl))];
  const secure = urls.filter(url => url.startsWith('https:')).length;
  if (secure !== 0 && secure !== urls.length) throw invalid('the endpoints of etcd are all https or all http');
  if (secure === 0 && tls != null) throw invalid('certificates for etcd need endpoints that begin with https://');
  if (secure > 0 && tls == null) throw invalid('https endpoints of etcd need the certificate of their authority (ca)');
  if (tls != null && (tls.cert === undefined) !== (tls.key === undefined))
    throw invalid('a certificate for etcd needs its key, and a key its certificate');
  if (user != null && user.name === '') throw invalid('a user of etcd has a name');
  if (namespace !== undefined && (!META_KEY.test(namespace) || !namespace.endsWith('/') || namespace.length > MAX_NAMESPACE_LENGTH)) {
    throw invalid(`"${namespace}" is no namespace: it starts with a letter or digit, ends in "/" and is printable ASCII`);
  }
  return urls;
}

function endpointUrl(endpoint: string): string {
  if (!URL.canParse(endpoint) || !/^https?:\/\/([^/:@?#[\]]+|\[[0-9a-f:.]+\]):\d+\/?$/i.test(endpoint)) {
    throw invalid(`"${endpoint}" is no endpoint of etcd: like https://10.0.0.1:2379`);
  }
  return endpoint.replace(/\/$/, '');
}

const invalid = (message: string): GatepathError =>
  new GatepathError('invalid', 'ERR_ETCD_OPTIONS', message, 'correct it in the configuration');
