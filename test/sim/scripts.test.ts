import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { withoutDirectorySync, withoutDsync } from '../support/disk-rig.js';
import type { NodeBugs } from './node.js';
import { NodeScript } from './script.js';

const directory = new URL('scripts/', import.meta.url);
const SCRIPTS = readdirSync(directory);
/** A script says the order of things; a seed, how long each takes. */
const SEEDS = 6;
/** Seeds within which a planted bug does its harm: what a power cut takes is theirs to say. */
const HUNT_SEEDS = 20;

const textOf = (file: string): string => readFileSync(new URL(file, directory), 'utf8');

const readsIn = (text: string): string[] => text.split('\n').filter(line => /^ {2}\d+=/.test(line));

/** What the script says; where it comes to a bad end, that, and everything that happened, with times. */
function play(script: NodeScript, text: string): string {
  try {
    return script.run(text);
  } catch (error) {
    throw new Error(`${(error as Error).message}\n\n${script.lines.join('\n')}\n\n${script.timeline}`, { cause: error });
  }
}

describe('one node: golden scripts', () => {
  it.each(SCRIPTS)('%s', file => {
    const text = textOf(file);
    const script = new NodeScript(1);
    const result = play(script, text);
    // After an intended change: UPDATE_SCRIPTS=1 npx vitest run test/sim/scripts.test.ts, and read the difference.
    if (process.env['UPDATE_SCRIPTS'] === '1') writeFileSync(new URL(file, directory), result);
    else expect(result, script.timeline).toBe(text);
  });

  it.each(SCRIPTS)('%s: with each seed the same is read; the same seed is the same twice, event for event', file => {
    const text = textOf(file);
    const hashes = new Set<string>();
    for (let seed = 1; seed <= SEEDS; seed++) {
      const [one, again] = [new NodeScript(seed), new NodeScript(seed)];
      expect(readsIn(play(one, text)), `seed ${seed}\n${one.timeline}`).toEqual(readsIn(text));
      again.run(text);
      expect(again.world.trace.hash).toBe(one.world.trace.hash);
      hashes.add(one.world.trace.hash);
    }
    expect(hashes.size).toBe(SEEDS);
  });
});

/** Found by what comes of them, not by another text. */
describe('one node: planted bugs under a directed schedule', () => {
  const controller = (mutation: string): NodeBugs => ({ stargate: { controller: { [mutation]: true } } });
  it.each<[string, string, NodeBugs, RegExp]>([
    ['torn-tail.txt', 'acknowledged before durable', { oplog: { ackBeforeDurable: true } }, /^vdisk 0 block \d+: r\d+ read \[/],
    ['torn-tail.txt', 'a later batch means rot', { oplog: { laterBatchMeansRot: true } }, /is not served/],
    ['replay-after-kill.txt', 'replay applied twice', controller('noDedupe'), /^vdisk 0 block 0: r\d+ read \[w2\]/],
    [
      'replay-after-stop.txt',
      'session table missing from HEAD',
      controller('sessionsMissingFromHead'),
      /^vdisk 0 block 0: r\d+ read \[w1\]/,
    ],
    [
      'cuts-in-recovery.txt',
      'the cut is not durable',
      { oplog: { cutNotDurable: true } },
      /is not served: its log is damaged|r\d+ read \[/,
    ],
    ['cuts-in-recovery.txt', 'RWF_DSYNC left out', { engine: withoutDsync }, /is not served: its log is damaged/],
    ['cuts-in-recovery.txt', 'directory sync left out', { engine: withoutDirectorySync }, /^vdisk 0 block \d+: r\d+ read \[/],
  ])('%s: %s', (file, _name, bugs, outcome) => {
    const text = textOf(file);
    const told: string[] = [];
    for (let seed = 1; seed <= HUNT_SEEDS && told.length === 0; seed++) {
      try {
        new NodeScript(seed, bugs).run(text);
      } catch (error) {
        told.push((error as Error).message);
      }
    }
    expect(told[0]).toMatch(outcome);
  });
});
