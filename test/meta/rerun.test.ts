import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Rerun } from '../../src/meta/rerun.js';

/** Runs end one by one, when the test says so. */
class Held {
  begun = 0;
  #end: ((error: Error | null) => void)[] = [];
  readonly errors: string[] = [];
  readonly rerun = new Rerun(
    () =>
      new Promise<void>((resolve, reject) => {
        this.begun++;
        this.#end.push(error => (error === null ? resolve() : reject(error)));
      }),
    error => void this.errors.push(error.message),
  );

  async end(error: Error | null = null): Promise<void> {
    this.#end.shift()!(error);
    await sleep(0);
  }
}

describe('Rerun', () => {
  it('runs once at a time, and once more for all that ask meanwhile', async () => {
    const held = new Held();
    for (let i = 0; i < 3; i++) held.rerun.ask();
    expect([held.begun, held.rerun.isWanted]).toEqual([1, true]);
    await held.end();
    expect([held.begun, held.rerun.isWanted]).toEqual([2, false]);
    await held.end();
    expect(held.begun).toBe(2);
    held.rerun.ask();
    expect(held.begun).toBe(3);
  });

  it('tells what has failed, and does it again only when it is asked to', async () => {
    const held = new Held();
    held.rerun.ask();
    await held.end(new Error('no'));
    expect([held.errors, held.begun]).toEqual([['no'], 1]);
    held.rerun.askLater(1);
    held.rerun.askLater(1);
    await sleep(20);
    await held.end();
    expect(held.begun).toBe(2);
  });

  it('begins nothing when it is closed, also nothing that was asked for before', async () => {
    const held = new Held();
    held.rerun.ask();
    held.rerun.ask();
    held.rerun.askLater(1);
    held.rerun.close();
    await held.end();
    held.rerun.ask();
    held.rerun.askLater(1);
    await sleep(20);
    expect(held.begun).toBe(1);
  });
});
