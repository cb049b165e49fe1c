import { expect, test } from 'vitest';
import { toNbdErrno } from '../../src/protocol/errno.js';

test.each([
  ['success', 0, false, 0],
  ['EPERM', 1, false, 1],
  ['EROFS', 30, false, 1],
  ['ENOSPC', 28, false, 28],
  ['EDQUOT', 122, false, 28],
  ['EINVAL', 22, false, 22],
  ['EOPNOTSUPP to FAST_ZERO', 95, true, 95],
  ['EOPNOTSUPP otherwise', 95, false, 22],
  ['EOVERFLOW is not for exports', 75, false, 22],
  ['ESHUTDOWN', 108, false, 108],
  ['EBADF', 9, false, 5],
  ['beyond the table', 4_000, false, 5],
  ['negative', -5, false, 5],
])('%s', (_what, errno, fastZero, expected) => {
  expect(toNbdErrno(errno, fastZero)).toBe(expected);
});
