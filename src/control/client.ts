import { containerView, type ContainerView, type CreateContainerRequest, type SetContainerRequest } from './container-schemas.js';
import { request as httpRequest } from 'node:http';
import * as z from 'zod';
import { GatepathError } from '../base/errors.js';
import type { VdiskCommand } from '../wire/vdisk-command.js';
import {
  apiError,
  attachmentView,
  copyView,
  recoveredView,
  recoveryView,
  removalView,
  detachView,
  eventsView,
  nodeView,
  servedView,
  statusView,
  vdiskView,
  type ActivateRequest,
  type AttachmentView,
  type AttachRequest,
  type BeginExportRequest,
  type BeginImportRequest,
  type CopyView,
  type RecoveredView,
  type RecoverRequest,
  type RecoveryView,
  type RemovalView,
  type RemoveNodeRequest,
  type CreateVdiskRequest,
  type DetachRequest,
  type DetachView,
  type EventsView,
  type FinishImportRequest,
  type NodeView,
  type ServedView,
  type StatusView,
  type VdiskView,
} from './schemas.js';
import {
  commandView,
  mapView,
  releasedView,
  resizeView,
  type CommandView,
  type MapView,
  type ReleasedView,
  type ResizeRequest,
  type ResizeView,
  type VdiskListing,
  vdiskListing,
} from './vdisk-schemas.js';
import { countersView, type CountersView } from './watch/view.js';

export type { ContainerView };

/** Longer than the server's own waits (attach, detach, create). */
const REQUEST_TIMEOUT_MS = 60_000;
/** For one that hangs, while others do not. */
const PROBE_TIMEOUT_MS = 1_000;
const MAX_ANSWER_BYTES = 64 << 20;

/** Where a management API listens. */
export type ControlAddress = { readonly socketPath: string } | { readonly url: string };

/** The management API, typed. Throws the server's GatepathError, or `ERR_NOT_RUNNING` when nobody answers. */
export class ControlClient {
  constructor(
    private readonly address: ControlAddress,
    private readonly timeoutMs = REQUEST_TIMEOUT_MS,
  ) {}

  /** Of several nodes that know the same: the first in order that answers; where none does, the first one, which says so when it is asked. */
  static async ofFirst(addresses: readonly ControlAddress[]): Promise<ControlClient> {
    const clients = addresses.map(address => new ControlClient(address));
    const answering = clients.map(client =>
      client.#exchange('GET', '/v1/version', undefined, PROBE_TIMEOUT_MS).then(
        () => true,
        () => false,
      ),
    );
    for (const [i, answers] of answering.entries()) if (await answers) return clients[i]!;
    return clients[0]!;
  }

  status(): Promise<StatusView> {
    return this.#ask('GET', '/v1/status', statusView);
  }

  /** Of the process that is asked. */
  counters(): Promise<CountersView> {
    return this.#ask('GET', '/v1/counters', countersView);
  }

  /** What the node that is asked serves itself, or of one vdisk. */
  served(vdiskId?: string): Promise<ServedView> {
    return this.#ask('GET', vdiskId === undefined ? '/v1/served' : `/v1/served?vdisk=${vdiskId}`, servedView);
  }

  /** Of the process that is asked: those behind `after`, of one vdisk or all; waits for the next one where there is none. */
  events({
    after = 0,
    vdiskId = null,
    waitMs = 0,
  }: { after?: number; vdiskId?: string | null; waitMs?: number } = {}): Promise<EventsView> {
    const query = new URLSearchParams({ after: String(after), waitMs: String(waitMs), ...(vdiskId === null ? {} : { vdiskId }) });
    return this.#ask('GET', `/v1/events?${query}`, eventsView);
  }

  async listNodes(): Promise<NodeView[]> {
    return (await this.#ask('GET', '/v1/nodes', z.object({ nodes: z.array(nodeView) }))).nodes;
  }

  showNode(id: string): Promise<NodeView> {
    return this.#ask('GET', `/v1/nodes/${encodeURIComponent(id)}`, nodeView);
  }

  /** The node hands over what it controls; or does its full duty again. */
  setDraining(id: string, isDraining: boolean): Promise<NodeView> {
    return this.#ask(isDraining ? 'PUT' : 'DELETE', `/v1/nodes/${encodeURIComponent(id)}/drain`, nodeView);
  }

  /** One step of it: to be asked until it is done. */
  removeNode(id: string, wanted: RemoveNodeRequest): Promise<RemovalView> {
    return this.#ask('POST', `/v1/nodes/${encodeURIComponent(id)}/removal`, removalView, wanted);
  }

  async listContainers(): Promise<ContainerView[]> {
    return (await this.#ask('GET', '/v1/containers', z.object({ containers: z.array(containerView) }))).containers;
  }

  createContainer(wanted: CreateContainerRequest): Promise<ContainerView> {
    return this.#ask('POST', '/v1/containers', containerView, wanted);
  }

  setContainer(name: string, change: SetContainerRequest): Promise<ContainerView> {
    return this.#ask('PUT', `/v1/containers/${encodeURIComponent(name)}`, containerView, change);
  }

  showContainer(name: string): Promise<ContainerView> {
    return this.#ask('GET', `/v1/containers/${encodeURIComponent(name)}`, containerView);
  }

  /** Those whose records can be read. */
  async listVdisks(): Promise<VdiskView[]> {
    return (await this.listing()).vdisks;
  }

  listing(): Promise<VdiskListing> {
    return this.#ask('GET', '/v1/vdisks', vdiskListing);
  }

  createVdisk(wanted: CreateVdiskRequest): Promise<VdiskView> {
    return this.#ask('POST', '/v1/vdisks', vdiskView, wanted);
  }

  showVdisk(name: string): Promise<VdiskView> {
    return this.#ask('GET', pathOf(name), vdiskView);
  }

  async deleteVdisk(name: string): Promise<void> {
    await this.#ask('DELETE', pathOf(name), z.object({}));
  }

  /** An unfinished vdisk under a name of its own, attached for this client, which renews its lease until it finishes or ends it. */
  beginImport(wanted: BeginImportRequest): Promise<AttachmentView> {
    return this.#ask('POST', '/v1/imports', attachmentView, wanted);
  }

  /** The vdisk is whole: it has its name from here on. */
  finishImport(vdiskId: string, wanted: FinishImportRequest): Promise<VdiskView> {
    return this.#ask('POST', `/v1/imports/${encodeURIComponent(vdiskId)}/finish`, vdiskView, wanted);
  }

  /** Attached for this client, which renews its lease until it ends it. */
  beginExport(wanted: BeginExportRequest): Promise<AttachmentView> {
    return this.#ask('POST', '/v1/exports', attachmentView, wanted);
  }

  async renewLease(vdiskId: string): Promise<void> {
    await this.#ask('PUT', `/v1/leases/${encodeURIComponent(vdiskId)}`, z.object({}));
  }

  /** Detached; an import's vdisk is deleted. */
  async endLease(vdiskId: string): Promise<void> {
    await this.#ask('DELETE', `/v1/leases/${encodeURIComponent(vdiskId)}`, z.object({}));
  }

  showRecovery(name: string): Promise<RecoveryView> {
    return this.#ask('GET', `${pathOf(name)}/recovery`, recoveryView);
  }

  /** Resolves when a controller serves it, or after a while. */
  recoverVdisk(name: string, wanted: RecoverRequest): Promise<RecoveredView> {
    return this.#ask('POST', `${pathOf(name)}/recovery`, recoveredView, wanted);
  }

  /** Gives what had held it. */
  releaseVdisk(name: string): Promise<ReleasedView> {
    return this.#ask('POST', `${pathOf(name)}/release`, releasedView, {});
  }

  /** What the node that is asked has of a vdisk. */
  copy(vdiskId: string): Promise<CopyView> {
    return this.#ask('GET', `/v1/copies/${encodeURIComponent(vdiskId)}`, copyView);
  }

  /** The vdisk's controller, if it is on the node that is asked. */
  command(vdiskId: string, command: VdiskCommand): Promise<CommandView> {
    return this.#ask('POST', `/v1/commands/${encodeURIComponent(vdiskId)}`, commandView, command);
  }

  /** Resolves when the log has it. */
  resizeVdisk(name: string, wanted: ResizeRequest): Promise<ResizeView> {
    return this.#ask('POST', `${pathOf(name)}/size`, resizeView, wanted);
  }

  /** One part of it, from that place on. */
  mapVdisk(name: string, fromBytes: number): Promise<MapView> {
    return this.#ask('GET', `${pathOf(name)}/map?fromBytes=${fromBytes}`, mapView);
  }

  attach(name: string, wanted: AttachRequest): Promise<AttachmentView> {
    return this.#ask('PUT', `${pathOf(name)}/attachment`, attachmentView, wanted);
  }

  /** A shared attachment holds the vdisk when this resolves, and nobody else writes any more. */
  activate(name: string, wanted: ActivateRequest): Promise<AttachmentView> {
    return this.#ask('POST', `${pathOf(name)}/attachment/activate`, attachmentView, wanted);
  }

  detach(name: string, { host }: DetachRequest = {}): Promise<DetachView> {
    const query = host === undefined ? '' : `?host=${encodeURIComponent(host)}`;
    return this.#ask('DELETE', `${pathOf(name)}/attachment${query}`, detachView);
  }

  async #ask<T>(method: string, path: string, schema: z.ZodType<T>, body?: unknown): Promise<T> {
    const { status, text } = await this.#exchange(method, path, body);
    let answer: unknown;
    try {
      answer = JSON.parse(text);
    } catch (cause) {
      throw this.#strange(`it answered with status ${status} and no JSON`, cause);
    }
    if (status >= 400) {
      const told = apiError.safeParse(answer);
      if (!told.success) throw this.#strange(`it answered with status ${status}`, told.error);
      const { kind, code, message, action } = told.data.error;
      throw new GatepathError(kind, code, message, action);
    }
    const parsed = schema.safeParse(answer);
    if (!parsed.success) throw this.#strange(z.prettifyError(parsed.error), parsed.error);
    return parsed.data;
  }

  #exchange(method: string, path: string, body: unknown, timeoutMs = this.timeoutMs): Promise<{ status: number; text: string }> {
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const headers = payload === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) };
    const options = { method, headers, timeout: timeoutMs };
    return new Promise((resolve, reject) => {
      const request =
        'socketPath' in this.address
          ? httpRequest({ ...options, socketPath: this.address.socketPath, path })
          : httpRequest(new URL(path, this.address.url), options);
      request.on('response', response => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          chunks.push(chunk);
          if ((bytes += chunk.length) > MAX_ANSWER_BYTES) request.destroy(new Error('the answer is too long'));
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }));
        response.on('error', reject);
      });
      request.on('timeout', () => request.destroy(new Error(`no answer within ${timeoutMs} ms`)));
      request.on('error', (cause: NodeJS.ErrnoException) => reject(this.#silent(cause)));
      request.end(payload);
    });
  }

  get #where(): string {
    return 'socketPath' in this.address ? this.address.socketPath : this.address.url;
  }

  #silent(cause: NodeJS.ErrnoException): GatepathError {
    if (cause.code === 'EACCES' || cause.code === 'EPERM') {
      const message = `this user may not manage the Gatepath at ${this.#where}: ${cause.message}`;
      return new GatepathError('invalid', 'ERR_NOT_ALLOWED', message, 'call it as the user that runs it, or as root', { cause });
    }
    const why = cause.code === 'ENOENT' || cause.code === 'ECONNREFUSED' ? 'nobody listens there' : cause.message;
    const action = 'start it with "gatepath up" or "gatepath stargate", or say where it is with --data DIR or --url URL';
    return new GatepathError('retryable', 'ERR_NOT_RUNNING', `no Gatepath answers at ${this.#where}: ${why}`, action, { cause });
  }

  #strange(why: string, cause: unknown): GatepathError {
    const action = 'check that the client and the node run the same version';
    return new GatepathError('invalid', 'ERR_ANSWER', `what answers at ${this.#where} is no Gatepath of this version: ${why}`, action, {
      cause,
    });
  }
}

function pathOf(vdiskName: string): string {
  return `/v1/vdisks/${encodeURIComponent(vdiskName)}`;
}
