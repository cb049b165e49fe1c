import { request } from 'node:http';
import * as z from 'zod';
import { GatepathError } from '../base/errors.js';
import type { Cluster } from './cluster.js';
import type { EtcdMember } from './cluster-file.js';
import { ASK_TIMEOUT_MS, HEALTH_POLL_MS, START_TIMEOUT_MS } from './limits.js';
import { imageOf } from './processes.js';

const MAX_ANSWER_CHARS = 1 << 16;

const statusAnswer = z.object({ header: z.object({ member_id: z.string() }), leader: z.string() });

/** With the pid that it has now. */
export async function findLeader(cluster: Cluster): Promise<EtcdMember> {
  for (const member of cluster.file.etcd) {
    const status = await statusOf(member);
    if (status === null || status.header.member_id !== status.leader) continue;
    const leader = { ...member, pid: cluster.started.get(member.address) ?? member.pid };
    // Whoever else may have its number by now is left alone.
    if (imageOf(leader.pid)?.argv.some(word => word.includes(new URL(urlOf(member.address)).host)) === true) return leader;
  }
  const action = 'see that etcd is healthy, and that it answers without a certificate at the sockets or addresses in cluster.json';
  throw new GatepathError('retryable', 'ERR_NO_LEADER', 'no member of etcd says that it leads', action);
}

/** Resolves when that member leads. */
export async function makeLeader(cluster: Cluster, wanted: EtcdMember): Promise<void> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  let seen = 'it has not answered';
  for (;;) {
    const status = await statusOf(wanted);
    if (status !== null && status.header.member_id === status.leader) return;
    if (performance.now() > deadline) {
      throw new GatepathError('retryable', 'ERR_NO_LEADER', `etcd at ${wanted.address} does not become the leader: ${seen}`, 'see its log');
    }
    if (status !== null) {
      const leader = await findLeader(cluster).catch(() => null);
      if (leader === null) seen = `to it ${status.leader} leads, which does not say so`;
      else {
        const answer = await ask(leader, '/v3/maintenance/transfer-leadership', { targetID: status.header.member_id });
        seen = `asked to hand over to it, ${leader.address} answers ${JSON.stringify(answer)}`;
      }
    }
    await new Promise(resolve => setTimeout(resolve, HEALTH_POLL_MS));
  }
}

async function statusOf(member: EtcdMember): Promise<z.infer<typeof statusAnswer> | null> {
  const answer = await ask(member, '/v3/maintenance/status', {});
  return statusAnswer.safeParse(answer).data ?? null;
}

/** null: it is down, or not ours to ask. */
function ask({ address, socket }: EtcdMember, path: string, question: object): Promise<unknown> {
  const { hostname, port, protocol } = new URL(urlOf(address));
  // The method here, not later: a request that was begun as a GET says nothing of its body's length.
  const where = { method: 'POST', path, ...(socket === undefined ? { hostname, port, protocol } : { socketPath: socket }) };
  return new Promise(resolve => {
    if (socket === undefined && protocol !== 'http:') return resolve(null);
    let text = '';
    const asked = request(where, response => {
      response.setEncoding('utf8').on('data', (piece: string) => (text = (text + piece).slice(0, MAX_ANSWER_CHARS)));
      response.on('error', () => resolve(null)).on('end', () => resolve(parseJson(text)));
    });
    asked.setTimeout(ASK_TIMEOUT_MS, () => asked.destroy());
    asked.on('error', () => resolve(null)).end(JSON.stringify(question));
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const urlOf = (address: string): string => (/^https?:/.test(address) ? address : `http://${address}`);
