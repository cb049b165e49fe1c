import { AssertionError } from 'node:assert/strict';
import { inspect } from 'node:util';
import { RawClient } from '../../src/nbd-server-ts/test/support/raw-client.js';
import { NotOffered } from '../../src/nbd-server-ts/test/support/not-offered.js';
import type { Endpoint, EndpointKind, Peer } from './peer.js';
import { openSession, type Session, type SessionOptions } from '../../src/nbd-server-ts/test/support/session.js';

export { NotOffered };

export type Check = (look: Look) => Promise<void>;

/** One row of the checklist: it holds where every one of its checks does. */
export interface Row {
  readonly title: string;
  readonly rule: string;
  readonly checks: Readonly<Record<string, Check>>;
}

export type Verdict = 'holds' | 'fails' | 'not offered';
export interface RowResult {
  readonly verdict: Verdict;
  /** Of those that did not hold: what was wrong. */
  readonly failures: readonly string[];
  readonly notOffered: readonly string[];
}

/** A check's view of a server; what it opens is closed behind it. */
export class Look {
  readonly #clients: RawClient[] = [];

  constructor(readonly peer: Peer) {}

  async endpoint(kind: EndpointKind = 'plain'): Promise<Endpoint> {
    const endpoint = await this.peer.endpoint(kind);
    if (endpoint === null) throw new NotOffered(`no server of the kind ${kind}`);
    return endpoint;
  }

  /** Connected; nothing said yet. */
  async connect(kind: EndpointKind = 'plain'): Promise<RawClient> {
    const client = await RawClient.connect((await this.endpoint(kind)).target);
    this.#clients.push(client);
    return client;
  }

  /** Greeted, with the client's flags sent. */
  async greeted(kind: EndpointKind = 'plain', flags = 3): Promise<RawClient> {
    const client = await this.connect(kind);
    await client.begin(flags);
    return client;
  }

  /** In the transmission phase. */
  async session(options: SessionOptions & { readonly kind?: EndpointKind } = {}): Promise<Session> {
    const { kind = 'plain' } = options;
    const client = await this.greeted(kind);
    return openSession(client, (await this.endpoint(kind)).exportName, options);
  }

  adopt(client: RawClient): RawClient {
    this.#clients.push(client);
    return client;
  }

  close(): void {
    for (const client of this.#clients.splice(0)) client.destroy();
  }
}

export async function runRow(row: Row, peer: Peer): Promise<RowResult> {
  const failures: string[] = [];
  const notOffered: string[] = [];
  let held = 0;
  for (const [name, check] of Object.entries(row.checks)) {
    const look = new Look(peer);
    try {
      await check(look);
      held++;
    } catch (error) {
      if (error instanceof NotOffered) notOffered.push(`${name}: ${error.message}`);
      else failures.push(`${name}: ${textOf(error)}`);
    } finally {
      look.close();
    }
  }
  return { verdict: failures.length > 0 ? 'fails' : held > 0 ? 'holds' : 'not offered', failures, notOffered };
}

const MAX_VALUE_CHARS = 120;

function textOf(error: unknown): string {
  if (error instanceof AssertionError && error.generatedMessage) return `${shown(error.actual)} where ${shown(error.expected)} belongs`;
  return error instanceof Error ? error.message.split('\n')[0]! : String(error);
}

function shown(value: unknown): string {
  return inspect(value, { breakLength: Infinity, compact: true }).slice(0, MAX_VALUE_CHARS);
}
