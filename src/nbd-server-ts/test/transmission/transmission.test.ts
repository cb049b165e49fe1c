import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MAX_DRAINED_PAYLOAD_BYTES } from '../../src/limits.js';
import { Command, CommandFlag, NbdErrno } from '../../src/protocol/constants.js';
import { rulesOf } from '../../src/transmission/rules.js';
import { Step, Transmission } from '../../src/transmission/transmission.js';
import { described } from '../support/described.js';
import { u16, u32, u64, unhex } from '../support/hex.js';

const SIZE = 64 << 20;

function machine(extendedHeaders = false, contextMask = 1): Transmission {
  const negotiated = { exportName: 'disk', structuredReplies: true, extendedHeaders, contextMask, secure: false };
  return new Transmission(rulesOf(described({ sizeBytes: SIZE }), negotiated));
}

function request(type: number, offset: number | bigint, length: number, flags = 0, cookie: bigint = 0x1122334455667788n): string {
  return '25609513' + u16(flags) + u16(type) + u64(cookie) + u64(offset) + u32(length);
}

/** Everything a machine makes of a stream cut into portions; positions start at an odd offset, as they may. */
function run(portions: readonly Uint8Array[], transmission = machine()): string[] {
  const events: string[] = [];
  const memory = new Uint8Array(1 << 20);
  const view = new DataView(memory.buffer);
  let position = 3;
  let end = 3;
  for (const portion of portions) {
    memory.set(portion, end);
    end += portion.length;
    for (;;) {
      if (transmission.payloadRemainingBytes > 0) {
        const bytes = Math.min(end - position, transmission.payloadRemainingBytes);
        if (bytes === 0) break;
        transmission.payloadTaken(bytes);
        position += bytes;
        continue;
      }
      const step = transmission.step(view, position, end - position);
      if (step === Step.more) {
        expect(transmission.neededBytes).toBeGreaterThan(end - position);
        break;
      }
      position += transmission.consumedBytes;
      if (step === Step.drained) continue;
      const { header } = transmission;
      const cookie = u32(header.cookieHigh) + u32(header.cookieLow);
      if (step === Step.disconnect) return [...events, 'disconnect'];
      if (step === Step.violation) return [...events, `violation: ${transmission.violation}`];
      const name = step === Step.refused ? `refused ${transmission.errno}` : step === Step.largeWrite ? 'large' : 'request';
      events.push(
        `${name} ${header.type} ${header.offsetBytes}+${header.lengthBytes} flags ${header.flags} cookie ${cookie}${contextsOf(header, step)}`,
      );
    }
  }
  return events;
}

function contextsOf({ type, contextMask }: Transmission['header'], step: Step): string {
  return type === Command.blockStatus && step === Step.request && contextMask !== 1 ? ` contexts ${contextMask.toString(2)}` : '';
}

const C = 'cookie 1122334455667788';

test.each<[string, string, string[]]>([
  ['a READ', request(Command.read, 4096, 8192, CommandFlag.dontFragment), [`request 0 4096+8192 flags 4 ${C}`]],
  [
    'a cookie with the highest bits',
    request(Command.flush, 0, 0, 0, 0xffff_ffff_8000_0001n),
    ['request 3 0+0 flags 0 cookie ffffffff80000001'],
  ],
  ['an incomplete header', request(Command.read, 0, 1).slice(0, 54), []],
  ['a WRITE without its payload', request(Command.write, 0, 4), []],
  [
    'a WRITE and what follows',
    request(Command.write, 0, 4) + 'aabbccdd' + request(Command.flush, 0, 0),
    [`request 1 0+4 flags 0 ${C}`, `request 3 0+0 flags 0 ${C}`],
  ],
  [
    'a refused WRITE is drained',
    request(Command.write, SIZE, 4) + 'aabbccdd' + request(Command.flush, 0, 0),
    [`refused 28 1 ${SIZE}+4 flags 0 ${C}`, `request 3 0+0 flags 0 ${C}`],
  ],
  [
    'a WRITE with an unknown flag is drained',
    request(Command.write, 0, 4, 0x80) + 'aabbccdd' + request(Command.flush, 0, 0),
    [`refused 22 1 0+4 flags 128 ${C}`, `request 3 0+0 flags 0 ${C}`],
  ],
  [
    'an empty WRITE',
    request(Command.write, 0, 0) + request(Command.flush, 0, 0),
    [`refused 22 1 0+0 flags 0 ${C}`, `request 3 0+0 flags 0 ${C}`],
  ],
  [
    'an unknown command has no payload',
    request(99, 0, 4) + request(Command.flush, 0, 0),
    [`refused 22 99 0+4 flags 0 ${C}`, `request 3 0+0 flags 0 ${C}`],
  ],
  [
    'a large WRITE',
    request(Command.write, 0, 70_000) + '00'.repeat(70_000) + request(Command.flush, 0, 0),
    [`large 1 0+70000 flags 0 ${C}`, `request 3 0+0 flags 0 ${C}`],
  ],
  ['DISC ends it', request(Command.disconnect, 7, 7, 7) + request(Command.flush, 0, 0), ['disconnect']],
  ['bad magic', '25609514' + request(Command.read, 0, 1).slice(8), ['violation: bad request magic']],
  ['a payload beyond all bounds', request(Command.write, 0, MAX_DRAINED_PAYLOAD_BYTES + 1), ['violation: a payload beyond all bounds']],
  ['a payload over 32 MiB is refused, not buffered', request(Command.write, 0, (32 << 20) + 1), [`refused 22 1 0+33554433 flags 0 ${C}`]],
])('%s', (_what, text, events) => {
  expect(run([unhex(text)])).toEqual(events);
});

test('shutting down: everything but DISC gets ESHUTDOWN, payloads are drained', () => {
  const transmission = machine();
  transmission.shutDown();
  const text = request(Command.read, 0, 1) + request(Command.write, 0, 2) + 'aabb' + request(Command.disconnect, 0, 0);
  expect(run([unhex(text)], transmission)).toEqual([
    `refused ${NbdErrno.shutdown} 0 0+1 flags 0 ${C}`,
    `refused ${NbdErrno.shutdown} 1 0+2 flags 0 ${C}`,
    'disconnect',
  ]);
});

const anyRequest = fc
  .record({
    type: fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom(0, 1, 1, 1, 3, 4, 5, 6, 7) },
      { weight: 1, arbitrary: fc.integer({ min: 8, max: 65_535 }) },
    ),
    offset: fc.oneof(fc.integer({ min: 0, max: SIZE }), fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn })),
    length: fc.oneof(fc.nat(5_000), fc.integer({ min: 65_530, max: 70_000 })),
    flags: fc.constantFrom(0, 1, 2, 4, 8, 16, 64),
    cookie: fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }),
  })
  .map(
    ({ type, offset, length, flags, cookie }) =>
      request(type, offset, length, flags, cookie) + (type === Command.write ? 'ab'.repeat(length) : ''),
  );

test('how the bytes are cut up does not matter', () => {
  fc.assert(
    fc.property(
      fc.array(anyRequest, { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 9_000 }), { minLength: 1, maxLength: 30 }),
      (requests, sizes) => {
        const bytes = unhex(requests.join('') + request(Command.disconnect, 0, 0));
        const portions: Uint8Array[] = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const size = sizes[i % sizes.length]!;
          portions.push(bytes.subarray(at, at + size));
          at += size;
        }
        const whole = run([bytes]);
        expect(whole.length).toBe(requests.length + 1);
        expect(run(portions)).toEqual(whole);
      },
    ),
    { numRuns: 150 },
  );
});

test('noise never takes more than was there', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), noise => void run([noise])));
});

describe('extended headers', () => {
  const ids = (lengthBytes: number | bigint, ...contexts: number[]): string => u64(lengthBytes) + contexts.map(u32).join('');
  const { payloadLength } = CommandFlag;

  function extended(type: number, offset: number | bigint, length: number | bigint, flags = 0): string {
    return '21e41c71' + u16(flags) + u16(type) + u64(0x1122334455667788n) + u64(offset) + u64(length);
  }

  test.each<[string, string, string[]]>([
    ['a READ', extended(Command.read, 4096, 8192), [`request 0 4096+8192 flags 0 ${C}`]],
    ['a length of 64 bits', extended(Command.trim, 0, 2n ** 40n), [`refused 22 4 0+${2 ** 40} flags 0 ${C}`]],
    ['a WRITE', extended(Command.write, 0, 2, payloadLength) + 'aabb', [`request 1 0+2 flags 32 ${C}`]],
    ['a large WRITE', extended(Command.write, 0, 100_000, payloadLength) + '00'.repeat(100_000), [`large 1 0+100000 flags 32 ${C}`]],
    [
      'a WRITE without the flag has no payload',
      extended(Command.write, 0, 2) + extended(Command.flush, 0, 0),
      [`refused 22 1 0+2 flags 0 ${C}`, `request 3 0+0 flags 0 ${C}`],
    ],
    [
      'a payload where none belongs is passed over',
      extended(Command.read, 0, 3, payloadLength) + 'aabbcc' + extended(Command.flush, 0, 0),
      [`refused 22 0 0+3 flags 32 ${C}`, `request 3 0+0 flags 0 ${C}`],
    ],
    ['a payload beyond all bounds', extended(Command.write, 0, 2n ** 32n, payloadLength), ['violation: a payload beyond all bounds']],
    ['the compact header', '25609513' + '00'.repeat(28), ['violation: bad request magic']],
    [
      'BLOCK_STATUS of one context',
      extended(Command.blockStatus, 512, 12, payloadLength) + ids(4096, 3),
      [`request 7 512+4096 flags 32 ${C} contexts 100`],
    ],
    ['BLOCK_STATUS of all', extended(Command.blockStatus, 512, 4096), [`request 7 512+4096 flags 0 ${C} contexts 101`]],
    ['of a context twice', extended(Command.blockStatus, 0, 16, payloadLength) + ids(4096, 3, 3), [`refused 22 7 0+16 flags 32 ${C}`]],
    ['of one not negotiated', extended(Command.blockStatus, 0, 12, payloadLength) + ids(4096, 2), [`refused 22 7 0+12 flags 32 ${C}`]],
    ['of the id 0', extended(Command.blockStatus, 0, 12, payloadLength) + ids(4096, 0), [`refused 22 7 0+12 flags 32 ${C}`]],
    [
      'of the id 2^32 - 1',
      extended(Command.blockStatus, 0, 12, payloadLength) + ids(4096, 0xffff_ffff),
      [`refused 22 7 0+12 flags 32 ${C}`],
    ],
    ['past the end', extended(Command.blockStatus, 0, 12, payloadLength) + ids(2n ** 40n, 1), [`refused 22 7 0+${2 ** 40} flags 32 ${C}`]],
    [
      'a payload of a wrong length, in step',
      extended(Command.blockStatus, 0, 11, payloadLength) + '00'.repeat(11) + extended(Command.flush, 0, 0),
      [`refused 22 7 0+11 flags 32 ${C}`, `request 3 0+0 flags 0 ${C}`],
    ],
  ])('%s', (_what, text, events) => {
    // In portions of every size: what is incomplete waits.
    for (const portion of [text.length / 2, 1, 31]) {
      const bytes = unhex(text);
      const portions = Array.from({ length: Math.ceil(bytes.length / portion) }, (_, i) => bytes.subarray(i * portion, (i + 1) * portion));
      if (portions.length < 10_000) expect(run(portions, machine(true, 0b101))).toEqual(events);
    }
  });
});
