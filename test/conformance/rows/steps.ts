import assert from 'node:assert/strict';
import { unhex } from '../../../src/nbd-server-ts/test/support/hex.js';
import type { OptionAnswer, RawClient } from '../../../src/nbd-server-ts/test/support/raw-client.js';
import { NotOffered, type Look } from '../row.js';
import { contextsData, infoData, Option, refusal, Rep, verdictOf } from '../../../src/nbd-server-ts/test/support/session.js';

/** The negotiation goes on: an option after the one looked at is answered as it should be. */
export async function inStep(client: RawClient, name: string): Promise<void> {
  const answers = await client.option(Option.info, infoData(name));
  assert.equal(refusal(verdictOf(answers)), refusal(Rep.ack), 'an INFO after it');
}

export async function refused(client: RawClient, option: number, data: string, ...expected: readonly number[]): Promise<OptionAnswer> {
  const answers = await client.option(option, data);
  const answer = answers.at(-1)!;
  assert.ok(expected.includes(answer.type), `${refusal(answer.type)} where ${expected.map(refusal).join(' or ')} belongs`);
  assert.equal(answers.length, 1, 'nothing but the refusal');
  assert.equal(answer.option, option, 'the refusal names its option');
  checkText(answer.data);
  return answer;
}

/** The text of a refusal is a string of the protocol. */
function checkText(data: string): void {
  const text = unhex(data);
  assert.ok(text.length <= 4096 && !text.includes(0), 'the text of a refusal is a string of the protocol');
  new TextDecoder('utf-8', { fatal: true }).decode(text);
}

export async function structuredClient(look: Look): Promise<{ client: Awaited<ReturnType<Look['greeted']>>; name: string }> {
  const client = await look.greeted();
  const { exportName: name } = await look.endpoint();
  if (verdictOf(await client.option(Option.structured)) !== Rep.ack) throw new NotOffered('no structured replies');
  if (verdictOf(await client.option(Option.listContexts, contextsData(name, []))) === Rep.unsupported)
    throw new NotOffered('no metadata contexts');
  return { client, name };
}
