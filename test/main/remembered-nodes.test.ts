import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { afterAll, describe, expect, it } from 'vitest';
import { nodeRecord } from '../../src/meta/model.js';
import { readRememberedNodes, rememberNodes } from '../../src/main/remembered-nodes.js';
import { makeTempDir, removeTempDir } from '../support/temp.js';

describe('nodes that a datapath remembers', () => {
  const dir = makeTempDir('remembered');
  afterAll(() => removeTempDir(dir));
  const lines: string[] = [];
  const log = { log: (_level: string, message: string) => void lines.push(message) };

  it('come back at the next start; a damaged file costs nothing but them', () => {
    const path = join(dir, 'nbd.sock.nodes');
    expect(readRememberedNodes(path, log)).toEqual([]);
    const record = nodeRecord.parse({ id: 'a', storeUuid: randomUUID(), incarnation: 1, bootCount: 1, address: '/run/a' });
    rememberNodes(path, [record], log);
    expect(readRememberedNodes(path, log)).toEqual([{ id: 'a', addresses: { unix: '/run/a', tcp: null } }]);
    expect(readdirSync(dir)).toEqual(['nbd.sock.nodes']);
    expect(lines).toEqual([]);
    for (const damaged of ['', '{"version":1,"nodes":[{"id":"a"}]}', '{"version":2}', '\0\0']) {
      writeFileSync(path, damaged);
      expect(readRememberedNodes(path, log)).toEqual([]);
    }
    expect(lines.length).toBe(4);
    rememberNodes(join(dir, 'nowhere', 'x'), [record], log);
    expect(lines.length).toBe(5);
  });
});
