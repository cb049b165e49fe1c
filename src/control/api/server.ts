import { createContainerRequest, setContainerRequest } from '../container-schemas.js';
import { chmodSync } from 'node:fs';
import fastify, { type FastifyInstance } from 'fastify';
import * as z from 'zod';
import { GatepathError, type ErrorKind } from '../../base/errors.js';
import type { Logger } from '../../base/log.js';
import { MetaUnavailable } from '../../meta/errors.js';
import type { EventRing } from '../events/ring.js';
import {
  activateRequest,
  attachRequest,
  beginExportRequest,
  beginImportRequest,
  createVdiskRequest,
  detachRequest,
  eventsRequest,
  finishImportRequest,
  recoverRequest,
  removeNodeRequest,
  servedRequest,
} from '../schemas.js';
import { mapRequest, resizeRequest } from '../vdisk-schemas.js';
import { vdiskCommand } from '../../wire/vdisk-command.js';
import type { ControlService } from '../service.js';
import type { StatusService } from '../status.js';
import type { Counters } from '../watch/counters.js';
import type { Exposition } from '../watch/exposition.js';

/** Of one request: control messages are small. */
const MAX_BODY_BYTES = 64 << 10;
const HTTP_STATUS: Readonly<Record<ErrorKind, number>> = {
  invalid: 400,
  fenced: 409,
  noSpace: 507,
  retryable: 503,
  corrupt: 500,
  fatal: 500,
};
const HTTP_STATUS_OF_CODE: Readonly<Record<string, number>> = {
  ERR_NOT_FOUND: 404,
  ERR_NOT_ATTACHED: 409,
  ERR_EXISTS: 409,
  ERR_ATTACHED: 409,
  ERR_LEASED: 409,
  ERR_LEASE_LOST: 409,
  ERR_SUPERSEDED: 409,
  ERR_NOT_LOST: 409,
  ERR_NO_COPY: 409,
  ERR_NOT_DRAINED: 409,
  ERR_WOULD_LOSE: 409,
  ERR_WOULD_CUT: 409,
  ERR_RESIZED: 409,
  ERR_OLD_NODES: 409,
};

export interface ControlServerOptions {
  readonly status: StatusService;
  /** Null where the process has no Stargate: then there is the status alone. */
  readonly service: ControlService | null;
  readonly events: EventRing;
  readonly watch: { readonly counters: Counters; readonly exposition: Exposition };
  readonly log: Logger;
}

/** The management API: JSON over HTTP at a Unix socket of mode 0600, so that who may connect is who owns the data. */
export class ControlServer {
  readonly #http: FastifyInstance;

  constructor(private readonly options: ControlServerOptions) {
    this.#http = fastify({ bodyLimit: MAX_BODY_BYTES, forceCloseConnections: true });
    this.#http.setErrorHandler((error, _request, reply) => {
      const told = this.#told(error);
      const { kind, code, message, action } = told;
      return reply.status(HTTP_STATUS_OF_CODE[code] ?? HTTP_STATUS[kind]).send({ error: { kind, code, message, action } });
    });
    this.#http.setNotFoundHandler(request => {
      if (options.service === null && request.url.startsWith('/v1/')) throw notHere();
      throw new GatepathError(
        'invalid',
        'ERR_NOT_FOUND',
        `there is no ${request.method} ${request.url}`,
        'use a client of the same version',
      );
    });
    this.#http.get('/v1/version', () => ({ version: options.status.version }));
    this.#http.get('/v1/status', () => options.status.status());
    this.#http.get('/v1/counters', () => options.watch.counters.view());
    this.#http.get('/metrics', async (_request, reply) => {
      const { exposition } = options.watch;
      return reply.type(exposition.contentType).send(await exposition.text());
    });
    this.#http.get('/v1/events', request => options.events.follow(parse(eventsRequest, request.query)));
    if (options.service !== null) this.#routes(options.service);
  }

  /** The way has to be free: no file is there. */
  async listen(socketPath: string): Promise<void> {
    await this.#http.listen({ path: socketPath });
    chmodSync(socketPath, 0o600);
  }

  close(): Promise<void> {
    return this.#http.close();
  }

  #routes(service: ControlService): void {
    const http = this.#http;
    type Named = { Params: { name: string } };
    http.get('/v1/served', request => service.served(parse(servedRequest, request.query).vdisk));
    http.get<{ Params: { id: string } }>('/v1/copies/:id', request => service.copy(request.params.id));
    http.post<{ Params: { id: string } }>('/v1/commands/:id', request =>
      service.command(request.params.id, parse(vdiskCommand, request.body)),
    );
    http.get('/v1/nodes', async () => ({ nodes: await service.listNodes() }));
    http.get<{ Params: { id: string } }>('/v1/nodes/:id', request => service.showNode(request.params.id));
    http.put<{ Params: { id: string } }>('/v1/nodes/:id/drain', request => service.setDraining(request.params.id, true));
    http.delete<{ Params: { id: string } }>('/v1/nodes/:id/drain', request => service.setDraining(request.params.id, false));
    http.post<{ Params: { id: string } }>('/v1/nodes/:id/removal', request =>
      service.removeNode(request.params.id, parse(removeNodeRequest, request.body ?? {})),
    );
    http.get('/v1/containers', async () => ({ containers: await service.listContainers() }));
    http.post('/v1/containers', request => service.createContainer(parse(createContainerRequest, request.body)));
    http.get<Named>('/v1/containers/:name', request => service.showContainer(request.params.name));
    http.put<Named>('/v1/containers/:name', request => service.setContainer(request.params.name, parse(setContainerRequest, request.body ?? {})));
    http.get('/v1/vdisks', () => service.listVdisks());
    http.post('/v1/vdisks', request => service.createVdisk(parse(createVdiskRequest, request.body)));
    http.get<Named>('/v1/vdisks/:name', request => service.showVdisk(request.params.name));
    http.delete<Named>('/v1/vdisks/:name', async request => {
      await service.deleteVdisk(request.params.name);
      return {};
    });
    http.post('/v1/imports', request => service.leases.beginImport(parse(beginImportRequest, request.body)));
    http.post('/v1/exports', request => service.leases.beginExport(parse(beginExportRequest, request.body)));
    http.post<{ Params: { id: string } }>('/v1/imports/:id/finish', async request => {
      const { name } = await service.leases.finishImport(request.params.id, parse(finishImportRequest, request.body ?? {}));
      return service.showVdisk(name);
    });
    http.put<{ Params: { id: string } }>('/v1/leases/:id', async request => {
      await service.leases.renew(request.params.id);
      return {};
    });
    http.delete<{ Params: { id: string } }>('/v1/leases/:id', async request => {
      await service.leases.end(request.params.id);
      return {};
    });
    http.post<Named>('/v1/vdisks/:name/size', request => service.commands.resize(request.params.name, parse(resizeRequest, request.body)));
    http.get<Named>('/v1/vdisks/:name/map', request => service.commands.map(request.params.name, parse(mapRequest, request.query)));
    http.get<Named>('/v1/vdisks/:name/recovery', request => service.showRecovery(request.params.name));
    http.post<Named>('/v1/vdisks/:name/recovery', request =>
      service.recoverVdisk(request.params.name, parse(recoverRequest, request.body ?? {})),
    );
    http.post<Named>('/v1/vdisks/:name/release', request => service.releaseVdisk(request.params.name));
    http.put<Named>('/v1/vdisks/:name/attachment', request =>
      service.attach(request.params.name, parse(attachRequest, request.body ?? {})),
    );
    http.post<Named>('/v1/vdisks/:name/attachment/activate', request =>
      service.activate(request.params.name, parse(activateRequest, request.body ?? {})),
    );
    http.delete<Named>('/v1/vdisks/:name/attachment', request => service.detach(request.params.name, parse(detachRequest, request.query)));
  }

  #told(error: unknown): GatepathError {
    if (error instanceof GatepathError) return error;
    if (error instanceof MetaUnavailable) {
      const action = 'it may or may not be done: look, and try again; "gatepath status" tells whether etcd is reached';
      return new GatepathError('retryable', error.code, error.message, action);
    }
    const { statusCode, message } = error as { statusCode?: number; message: string };
    if (statusCode !== undefined && statusCode < 500) {
      return new GatepathError('invalid', 'ERR_REQUEST', message, 'use a client of the same version');
    }
    this.options.log.log('error', 'a request to the management API failed', { error: (error as Error).stack });
    return new GatepathError('fatal', 'ERR_INTERNAL', `internal error: ${message}`, 'see the log of the node');
  }
}

function notHere(): GatepathError {
  const message = 'this is a datapath: it tells its status, and manages nothing';
  return new GatepathError('invalid', 'ERR_DATAPATH_ONLY', message, 'ask its Stargate: --data with the data directory of the node');
}

function parse<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  throw new GatepathError('invalid', 'ERR_REQUEST', z.prettifyError(parsed.error), 'use a client of the same version');
}
