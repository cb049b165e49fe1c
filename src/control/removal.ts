import { GatepathError } from '../base/errors.js';
import { holdBack } from '../meta/damage.js';
import type { GroupRecord, NodeRecord, VdiskRecord } from '../meta/model.js';
import { noSuchNode, readNodes } from '../meta/nodes.js';
import { findRemovedNode, forgetFormer, forgetNode, markRemoval } from '../meta/removals.js';
import type { RemovalView, RemoveNodeRequest } from './schemas.js';
import { survey, vdiskFacts, type Survey, type Surveyed } from './survey.js';

/** Taking a node out of the cluster for good. What each call finds done stays done: whoever asks again goes on from there. */

/** The most copies that a container can want. */
const ALL_COPIES = 3;
/** That are named one by one. */
const MOST_NAMED = 20;

/** What would become of vdisks without the node: by name. */
export interface AtStake {
  /** No other node has them, or can get them from this one. */
  readonly lost: readonly string[];
  /** They would have fewer copies than their container wants. */
  readonly reduced: readonly string[];
  /** So few that their writes would wait for ever. */
  readonly waiting: readonly string[];
  /** Nodes that live and stay. */
  readonly livingElsewhere: number;
}

export function atStake(all: Survey, id: string): AtStake {
  const livingElsewhere = all.nodes.filter(one => one.id !== id && one.alive && one.removingSince === null).length;
  const kept = all.vdisks.filter(vdisk => isConcerned(all.groups.get(vdisk.id), id) && !isLost(vdisk, all, id));
  const needs = (vdisk: VdiskRecord): number => containerOf(vdisk, all).minMembers;
  return {
    lost: namesOf(all.vdisks.filter(vdisk => isLost(vdisk, all, id))),
    reduced: namesOf(kept.filter(vdisk => containerOf(vdisk, all).replicationFactor > livingElsewhere)),
    waiting: namesOf(kept.filter(vdisk => needs(vdisk) > livingElsewhere)),
    livingElsewhere,
  };
}

const namesOf = (vdisks: readonly VdiskRecord[]): string[] => vdisks.map(({ name }) => name);

function containerOf({ container }: VdiskRecord, all: Survey): { readonly replicationFactor: number; readonly minMembers: number } {
  return all.containers.get(container) ?? { replicationFactor: 1, minMembers: 1 };
}

/** It has a copy, or had one that nobody has replaced, perhaps. */
function isConcerned(group: GroupRecord | undefined, id: string): boolean {
  return [...(group?.members ?? []), ...(group?.former ?? [])].some(({ node }) => node === id);
}

/** A node that lives brings another one up from its copy, where the container wants more than one. */
function isLost(vdisk: VdiskRecord, all: Survey, id: string): boolean {
  const members = all.groups.get(vdisk.id)?.members ?? [];
  const isAlive = all.nodes.some(one => one.id === id && one.alive);
  const isAlone = members.length > 0 && members.every(({ node }) => node === id);
  return isAlone && (!isAlive || containerOf(vdisk, all).replicationFactor === 1);
}

export async function removeNode(options: Surveyed, id: string, { force }: RemoveNodeRequest): Promise<RemovalView> {
  const { store, node } = options;
  const { records, damaged } = await readNodes(store);
  const record = records.find(one => one.id === id);
  if (record === undefined) {
    holdBack(damaged, `node "${id}" is not looked for`);
    if ((await findRemovedNode(store, id)) === null) throw noSuchNode(id);
    return { node: id, isRemoved: true, lost: [], waitsFor: [], waiting: 0 };
  }
  const all = await survey(options);
  // What cannot be read may need the node, or name it.
  holdBack(all.damaged, `node "${id}" is not removed`);
  const stake = atStake(all, id);
  if (node.cluster === null || all.nodes.length === 1)
    throw refused(id, 'ERR_LAST_NODE', 'it is the only node there is', 'stop it instead, and keep or delete its data directory');
  let copies = record.removal?.copies ?? ALL_COPIES;
  if (record.removal === null || force) {
    refuse(record, all, stake, force);
    if (force && stake.reduced.length > 0) copies = Math.min(ALL_COPIES, stake.livingElsewhere);
    if ((await markRemoval(store, id, copies)) === null) throw changed(id);
  }
  const waitsFor = stillNeeded(all, id, copies);
  const view = { node: id, lost: stake.lost.slice(0, MOST_NAMED), waitsFor: waitsFor.slice(0, MOST_NAMED), waiting: waitsFor.length };
  if (waitsFor.length > 0) return { ...view, isRemoved: false };
  for (const group of all.groups.values())
    if (group.former?.some(one => one.node === id) === true) await forgetFormer(store, group.vdiskId, id);
  if (!(await forgetNode(store, record))) throw changed(id);
  return { ...view, isRemoved: true };
}

function refuse({ id, drainingSince }: NodeRecord, all: Survey, stake: AtStake, force: boolean): void {
  const isAlive = all.nodes.some(one => one.id === id && one.alive);
  if (isAlive && drainingSince === null) {
    throw refused(id, 'ERR_NOT_DRAINED', 'it lives, and is not drained', `others take over from it first: gatepath node drain ${id}`);
  }
  if (stake.waiting.length > 0) {
    const why = `writes of ${listed(stake.waiting)} would wait for ever: ${stake.livingElsewhere} nodes would be left for its copies, and more are needed`;
    throw refused(id, 'ERR_TOO_FEW_NODES', why, 'start another node first, which gets the copies');
  }
  if (force) return;
  if (stake.lost.length > 0) {
    const why = `${listed(stake.lost)} would be lost for good: no other node has its newest data, or can get it`;
    const action = isAlive
      ? 'copy what is to be kept to vdisks in a container with several copies, and delete these; or say --force'
      : 'start the node again; or go on from an older copy, where there is one, by "gatepath vdisk recover", or delete the vdisk; or say --force';
    throw refused(id, 'ERR_WOULD_LOSE', why, action);
  }
  if (stake.reduced.length > 0) {
    const { livingElsewhere: left } = stake;
    const why = `${listed(stake.reduced)} would have only ${left} ${left === 1 ? 'copy' : 'copies'}, fewer than its container wants`;
    throw refused(id, 'ERR_TOO_FEW_NODES', why, 'start another node first, which gets the copies; or say --force');
  }
}

/** Vdisks that have a copy there still, and those that have not got another one for it. */
function stillNeeded(all: Survey, id: string, copies: number): RemovalView['waitsFor'] {
  const going = new Set(all.nodes.filter(one => one.id === id || one.removingSince !== null).map(one => one.id));
  return all.vdisks.flatMap(vdisk => {
    const group = all.groups.get(vdisk.id);
    if (group === undefined || !isConcerned(group, id) || isLost(vdisk, all, id)) return [];
    const elsewhere = group.members.filter(({ node }) => !going.has(node)).length;
    const wanted = Math.min(copies, containerOf(vdisk, all).replicationFactor);
    const isMember = group.members.some(({ node }) => node === id);
    if (!isMember && elsewhere >= wanted) return [];
    return [{ vdisk: vdisk.name, copies: elsewhere, wanted, resyncing: vdiskFacts(vdisk, all).resyncing }];
  });
}

function listed(names: readonly string[]): string {
  const more = names.length - MOST_NAMED;
  return `vdisk ${names.slice(0, MOST_NAMED).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}

const refused = (id: string, code: string, why: string, action: string): GatepathError =>
  new GatepathError('invalid', code, `node "${id}" is not removed: ${why}`, action);
const changed = (id: string): GatepathError =>
  new GatepathError(
    'retryable',
    'ERR_CHANGED',
    `node "${id}" has started anew, or is to stay, meanwhile`,
    'see "gatepath node show", and try again',
  );
