import { IoOp } from '../../../src/wire/path.js';
import type { ClusterNode } from './cluster-node.js';
import type { ClusterPath } from './cluster-path.js';
import { METADATA, type Stage, type Story } from './stage.js';

/** On no node's machine: what happens to nodes does not happen to the datapath. */
const ELSEWHERE = 4;

/** M1, M2: what a member lacks is lost when the controller goes before it has noticed that the member does not hear it. */
export const MEMBER_UNHEARD: Story = {
  home: ELSEWHERE,
  play: stage => {
    const [controller, other] = stage.cast;
    stage.block(controller, other!);
    stage.for(300);
    controller.kill();
    stage.serves(other!);
    stage.answers(20);
  },
};

/** M5: cut off from metadata and member, the controller cannot know that the member is removed. */
export const REMOVAL_UNKNOWN: Story = {
  home: ELSEWHERE,
  play: stage => {
    const [controller, other] = stage.cast;
    stage.block(controller, other!);
    stage.block(controller, METADATA);
    stage.for(1_500);
    controller.kill();
    stage.serves(other!);
    stage.answers(20);
  },
};

/** M4: the metadata has added a member, and the controller does not hear of it. */
export const ADDITION_UNKNOWN: Story = {
  home: ELSEWHERE,
  play: stage => {
    const [controller, other] = stage.cast;
    const third = stage.cluster.nodes.find(node => node !== controller && node !== other)!;
    other!.kill();
    stage.until(() => stage.members.includes(third), 'the new member');
    stage.blockOneWay(METADATA, controller);
    stage.block(controller, third);
    stage.for(300);
    controller.kill();
    stage.serves(third);
    stage.answers(20);
  },
};

/**
 * M6: the metadata is to add a member when the controller dies, and has not done so when that one is back and has read the record. The addition comes about before its proposal
 * does: the record names it as the controller, and is not the one that it has proposed.
 */
export const PROPOSED_BEFORE: Story = {
  home: ELSEWHERE,
  play: stage => {
    const { metadata } = stage.cluster;
    const [controller, other] = stage.cast;
    const proposed = (): number => metadata.possible(stage.cluster.vdisks[0]!.id).length;
    other!.kill();
    stage.until(() => stage.members.length === 1, 'one member');
    const before = { node: controller.number, requests: [] as (() => void)[] };
    metadata.delayed = before;
    other!.start();
    stage.until(() => proposed() > 1, 'the addition');
    metadata.delayed = null;
    stage.block(controller, other!);
    controller.kill();
    controller.start();
    const proposals = proposed();
    stage.until(() => proposed() > proposals, 'the proposal of the next process');
    for (const arrive of before.requests) arrive();
    stage.for(500);
    controller.kill();
    stage.serves(other!);
    stage.answers(20);
  },
};

/** The controller is cut off with changes in its log that nobody else has; another member goes on without it. */
function forked(stage: Stage): readonly [ClusterNode, ClusterNode] {
  const [controller, other] = stage.cast;
  stage.block(controller, other!);
  stage.block(controller, METADATA);
  stage.for(60);
  stage.takeOver(other!);
  for (const client of stage.datapath.clients) client.cut();
  stage.answers(20);
  return [controller, other!];
}

/** M11: what was cut is there again after a start, and what came in its place does not fit behind it. */
export const CUT_FORGOTTEN: Story = {
  home: ELSEWHERE,
  play: stage => {
    const [former, next] = forked(stage);
    stage.clear(former, next);
    stage.clear(former, METADATA);
    stage.until(() => stage.members.length === 2, 'both members');
    stage.answers(5);
    former.powerCut();
    former.start();
    stage.until(() => former.isServing, 'a node that is back');
    stage.until(() => stage.members.length === 1, 'one member');
    stage.until(() => stage.members.length === 2, 'both members');
    next.kill();
    stage.serves(former);
    stage.answers(10);
  },
};

/** M18: one shard of the datapath has gone to the next controller and has written; the other one reads at the former, which does not know. */
export const FORMER_READ: Story = {
  home: ELSEWHERE,
  shards: 2,
  play: stage => {
    stage.quiet();
    const [first, second] = stage.datapath.clients;
    stage.write(first!, 0);
    stage.read(second!, 0);
    const [controller, other] = stage.cast;
    stage.block(controller, other!);
    stage.block(controller, METADATA);
    stage.takeOver(other!);
    first!.cut();
    stage.until(() => (first!.paths as ClusterPath).shard.node === other!.nodeId && first!.session.state.kind === 'open', 'a path');
    stage.write(first!, 0);
    const isAnswered = stage.ask(second!, IoOp.read, 0);
    stage.for(20);
    if (!isAnswered()) second!.cut();
    stage.until(isAnswered, 'the read');
  },
};

/** M13: a change whose answer was lost is in the extents, and after another one it comes again. */
export const REPLAYED_AFTER_HEAD: Story = {
  home: ELSEWHERE,
  shards: 2,
  play: stage => {
    stage.quiet();
    const [first, second] = stage.datapath.clients;
    first!.stall(50e9);
    stage.ask(first!, IoOp.write, 0);
    stage.for(100);
    stage.read(second!, 0);
    stage.write(second!, 0);
    stage.read(second!, 0);
    const isDrained = (): boolean => stage.members.every(node => stage.replica(node).local.index.isEmpty);
    stage.until(isDrained, 'drained replicas');
    stage.for(500);
    for (const node of stage.members) node.kill();
    for (const node of stage.cluster.nodes) if (node.part === null) node.start();
    stage.until(() => first!.outstanding.size === 0, 'the replay');
    stage.read(second!, 0);
  },
};

/** Rule 27: a FLUSH is asked for while a member's disk hangs, and that member is all that comes back. */
export const FLUSHED_AT_ONE: Story = {
  home: ELSEWHERE,
  play: stage => {
    stage.quiet();
    const [controller, other] = stage.cast;
    const [client] = stage.datapath.clients;
    stage.write(client!, 0);
    other!.disk.faults.add({ operation: 'any', path: /\.seg$/, error: 'hang', times: 4 });
    stage.write(client!, 0);
    client!.ask({ op: IoOp.flush, offsetBytes: 0, lengthBytes: 0 });
    stage.for(100);
    controller.powerCut();
    other!.powerCut();
    other!.disk.faults.release();
    other!.start();
    stage.serves(other!);
    stage.read(client!, 0);
  },
};

/** Rule 27: what a member has not heard of is not there when its controller dies. */
export const WRITTEN_UNHEARD: Story = {
  home: ELSEWHERE,
  play: stage => {
    stage.quiet();
    const [controller, other] = stage.cast;
    const [client] = stage.datapath.clients;
    stage.write(client!, 0);
    stage.block(controller, other!);
    stage.ask(client!, IoOp.write, 0);
    stage.for(200);
    controller.kill();
    stage.serves(other!);
    stage.read(client!, 0);
  },
};

/** Rule 26: a resize is in the log of a controller that has been cut off, and of nobody else; another one comes about in its place. */
export const RESIZE_UNHEARD: Story = {
  home: ELSEWHERE,
  play: stage => {
    stage.quiet();
    const [controller, other] = stage.cast;
    stage.block(controller, other!);
    stage.resize(2, controller);
    stage.for(60);
    stage.block(controller, METADATA);
    stage.takeOver(other!);
    stage.resize(3, other!);
    stage.resized();
  },
};

/** A resize is in both logs when its controller dies, which has told nobody. Gives who follows. */
function resizedUntold(stage: Stage): ClusterNode {
  const [controller, other] = stage.cast;
  stage.blockOneWay(other!, controller);
  stage.resize(4, controller);
  stage.for(100);
  controller.kill();
  stage.serves(other!);
  stage.resized();
  return other!;
}

/** Rule 26: a resize is in both logs when its controller dies, which has told nobody: whoever follows tells the metadata. */
export const RESIZE_UNTOLD: Story = {
  home: ELSEWHERE,
  play: stage => {
    stage.quiet();
    resizedUntold(stage);
  },
};

/** Rule 26: a shrink is in both logs when its controller dies, which has told nobody. Whoever follows goes by its log; then the vdisk grows, and what was cut off is zeroes. */
export const RESIZE_UNDECIDED: Story = {
  home: ELSEWHERE,
  play: stage => {
    stage.quiet();
    const [client] = stage.datapath.clients;
    stage.write(client!, 2);
    stage.write(client!, 5);
    const other = resizedUntold(stage);
    stage.read(client!, 2);
    stage.write(client!, 5);
    // That the metadata has it, this controller does not hear.
    stage.blockOneWay(METADATA, other);
    stage.resize(3, other);
    stage.resized();
    stage.for(100);
    other.kill();
    stage.clear(other, METADATA);
    other.start();
    stage.serves(other);
    stage.resize(64, other);
    stage.resized();
    stage.read(client!, 2);
    stage.read(client!, 5);
  },
};
