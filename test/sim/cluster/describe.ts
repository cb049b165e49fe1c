import type { Effect, Group, LogRecord } from '../../../src/stargate/core/replication/effects.js';
import type { Entry, TermRun } from '../../../src/stargate/core/replication/entry.js';
import type { Message } from '../../../src/stargate/core/replication/messages.js';

/** Messages and effects as lines that one can read: for timelines and golden scripts. */

export function describeGroup({ epoch, term, controller, members }: Group): string {
  return `epoch=${epoch} term=${term} controller=${controller} {${members.join(' ')}}`;
}

const entryText = ({ seq, creationTerm, body }: Entry): string => `${seq}/t${creationTerm}:${String(body)}`;
const entriesText = (entries: readonly Entry[]): string => entries.map(entryText).join(' ') || 'nothing';
const runsText = (runs: readonly TermRun[]): string => runs.map(run => `..${run.lastSeq}/t${run.creationTerm}`).join(' ') || 'empty';

export function describeMessage(message: Message): string {
  const head = `${message.kind} t${message.term}`;
  switch (message.kind) {
    case 'seal':
      return `${head} attempt=${message.attempt}`;
    case 'sealReply':
      return `${head} attempt=${message.attempt} log=${runsText(message.runs)} heard=${message.committedHeard}`;
    case 'append':
      return `${head} ${entriesText(message.entries)} committed=${message.committed}`;
    case 'appendAck':
      return `${head} durable=${message.durableSeq} tail=${message.tailSeq}${message.fits ? '' : ' does not fit'}`;
    case 'cut':
      return `${head} tail=${message.tailSeq} after=${message.afterSeq}`;
    case 'watermark':
      return `${head} committed=${message.committed}`;
    case 'fetch':
      return `${head} from=${message.fromSeq}`;
    case 'entries':
      return `${head} ${entriesText(message.entries)}`;
    case 'confirm':
    case 'confirmed':
      return `${head} round=${message.round}`;
    case 'fenced':
    case 'needSeal':
    case 'leave':
      return head;
    case 'standIn':
      return `${head} committed=${message.committed}${message.isLeaving ? ' leaving' : ''}`;
    case 'letGo':
      return `${head} attempt=${message.attempt}${message.what === 'copy' ? ' copy' : ''}${message.isGranted ? ' granted' : ''}`;
    case 'leaveReply':
      return `${head} ${message.isOut ? 'out' : 'needed'}`;
  }
}

function recordText(record: LogRecord): string {
  if (record.kind === 'entry') return entryText(record.entry);
  if (record.kind === 'promise') return `promise t${record.promise.term} to ${record.promise.controller}`;
  return `cut after ${record.afterSeq}`;
}

export function describeEffect(effect: Effect): string {
  switch (effect.kind) {
    case 'send':
      return `-> ${effect.to}: ${describeMessage(effect.message)}`;
    case 'persist':
      return `persist #${effect.ticket} ${recordText(effect.record)}`;
    case 'cas':
      return `cas upon ${effect.expectedEpoch}: ${describeGroup(effect.group)}`;
    case 'resync':
      return `${effect.member} has to be given the extents`;
    case 'discard':
      return 'the copy is removed';
    case 'readGroup':
      return 'read the record';
    case 'admitted':
      return effect.seq === 0 ? `refused ${String(effect.body.body)}` : `admitted ${String(effect.body.body)} as ${effect.seq}`;
    case 'held':
      return `held ${effect.seq}`;
    case 'committed':
      return `committed ${effect.seq}`;
    case 'serving':
      return `serving t${effect.term}`;
    case 'confirmed':
      return `confirmed t${effect.term}`;
    case 'resigned':
      return `resigned t${effect.term}: ${effect.reason}${effect.follower === null ? '' : `; sessions are sent to ${effect.follower}`}`;
    case 'alarm':
      return `ALARM ${effect.code}: ${effect.text}`;
  }
}
