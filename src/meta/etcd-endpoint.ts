import type { Etcd3, IOptions, IRangeRequest, IRangeResponse, ITxnRequest, ITxnResponse, IWatchRequest, IWatchResponse } from 'etcd3';
import { GatepathError } from '../base/errors.js';
import { MetaUnavailable } from './errors.js';

export type EtcdModule = typeof import('etcd3');
export type EtcdWatchStream = Awaited<ReturnType<Etcd3['watchClient']['watch']>>;
export type { IRangeRequest, IRangeResponse, ITxnRequest, ITxnResponse, IWatchRequest, IWatchResponse };

/** All of a range, in one answer. */
const MAX_ANSWER_BYTES = 64 << 20;
/** etcd takes a client that pings more often than each 5 s for a hostile one. */
const PING_AFTER_MS = 6_000;
const PING_ANSWER_MS = 2_000;
const RECONNECT_FIRST_MS = 50;
const RECONNECT_LAST_MS = 1_000;

export interface EtcdCredentials {
  readonly tls: { readonly ca: Buffer; readonly cert?: Buffer; readonly key?: Buffer } | null;
  readonly user: { readonly name: string; readonly password: string } | null;
}

/**
 * One member of an etcd cluster. Every call is sent once at most: retries and the choice of the member are not left to the library, which
 * would send a transaction again whose outcome is unknown.
 */
export class EtcdEndpoint {
  #keys: Etcd3;
  /** Of its own, and new for each stream: the library closes all connections of a client whose stream breaks, and keeps a token that has run out. */
  #stream: Etcd3 | null = null;
  #closed = false;

  constructor(
    private readonly module: EtcdModule,
    readonly url: string,
    private readonly credentials: EtcdCredentials,
  ) {
    this.#keys = this.#client();
  }

  range(request: IRangeRequest, timeoutMs: number): Promise<IRangeResponse> {
    return this.#keys.kv.range(request, within(timeoutMs));
  }

  txn(request: ITxnRequest, timeoutMs: number): Promise<ITxnResponse> {
    return this.#keys.kv.txn(request, within(timeoutMs));
  }

  /** Ends with an error when the member has no leader: it would be silent for as long. */
  watch(): Promise<EtcdWatchStream> {
    this.#stream?.close();
    this.#stream = this.#client();
    return this.#stream.watchClient.watch({ interceptors: [requireLeader] });
  }

  /** What to say of an error that means: certainly not carried out, and it would not be elsewhere or later. null: anything may have happened. */
  refusal(cause: unknown): GatepathError | null {
    const { module } = this;
    const refusals = [
      module.GRPCInvalidArgumentError,
      module.GRPCFailedPreconditionError,
      module.GRPCUnauthenticatedError,
      module.EtcdPermissionDeniedError,
      module.EtcdAuthenticationFailedError,
    ];
    if (!(cause instanceof Error) || !refusals.some(one => cause instanceof one)) return null;
    // A token of before users or rights were changed is refused for ever: the next call gets another one.
    if (this.credentials.user !== null) this.#renew();
    const message = `etcd at ${this.url} refuses this: ${cause.message}`;
    return new GatepathError('invalid', 'ERR_ETCD_REFUSED', message, 'check certificates, user, password and rights for etcd', { cause });
  }

  close(): void {
    this.#closed = true;
    this.#keys.close();
    this.#stream?.close();
  }

  #renew(): void {
    if (this.#closed) return;
    this.#keys.close();
    this.#keys = this.#client();
  }

  #client(): Etcd3 {
    const { tls, user } = this.credentials;
    return new this.module.Etcd3({
      hosts: [this.url],
      faultHandling: { host: () => ONCE, global: ONCE },
      ...(tls === null ? {} : { credentials: tlsOptions(tls) }),
      ...(user === null
        ? {}
        : { auth: { username: user.name, password: user.password, callOptions: () => within(AUTHENTICATE_TIMEOUT_MS) } }),
      grpcOptions: {
        'grpc.use_local_subchannel_pool': 1,
        'grpc.enable_retries': 0,
        'grpc.enable_http_proxy': 0,
        'grpc.service_config_disable_resolution': 1,
        'grpc.keepalive_time_ms': PING_AFTER_MS,
        'grpc.keepalive_timeout_ms': PING_ANSWER_MS,
        'grpc.initial_reconnect_backoff_ms': RECONNECT_FIRST_MS,
        'grpc.max_reconnect_backoff_ms': RECONNECT_LAST_MS,
        'grpc.max_receive_message_length': MAX_ANSWER_BYTES,
      },
    });
  }
}

const AUTHENTICATE_TIMEOUT_MS = 2_000;

type Policy = NonNullable<NonNullable<IOptions['faultHandling']>['global']>;
/** The library's retries, switched off. */
const ONCE = { execute: async (call: () => unknown) => call() } as unknown as Policy;

/** For calls only: on a stream it would be the stream's end. The library takes a time of day, and makes a timer of what is left of it at once. */
const within = (timeoutMs: number): { deadline: number } => ({ deadline: new Date().getTime() + timeoutMs });

type Interceptor = NonNullable<NonNullable<Parameters<Etcd3['watchClient']['watch']>[0]>['interceptors']>[number];
const requireLeader: Interceptor = (options, nextCall) => {
  const call = nextCall(options);
  const start = call.start.bind(call);
  call.start = (metadata, listener) => {
    metadata.set('hasleader', 'true');
    start(metadata, listener);
  };
  return call as ReturnType<Interceptor>;
};

function tlsOptions({ ca, cert, key }: NonNullable<EtcdCredentials['tls']>): NonNullable<IOptions['credentials']> {
  return {
    rootCertificate: ca,
    ...(cert === undefined ? {} : { certChain: cert }),
    ...(key === undefined ? {} : { privateKey: key }),
  };
}

/** etcd3 is an optional dependency: an installation of one node does without. */
export async function loadEtcd(): Promise<EtcdModule> {
  try {
    // It is CommonJS: what it exports is the default, also where a bundle has it.
    return ((await import('etcd3')) as unknown as { readonly default: EtcdModule }).default;
  } catch (cause) {
    throw new GatepathError('invalid', 'ERR_ETCD_MISSING', 'the package "etcd3" is not installed', 'install it: npm install etcd3', {
      cause,
    });
  }
}

export const unavailable = (what: string, cause: unknown): MetaUnavailable =>
  new MetaUnavailable(`${what}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
