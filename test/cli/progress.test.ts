import { describe, expect, it } from 'vitest';
import { barLine } from '../../src/cli/progress.js';

const GIB = 2 ** 30;

describe('the progress of a copy', () => {
  it.each([
    [0, 0, 80, '  0% [>                   ]            0 B of 2 GiB         0 B/s   -:-- left'],
    [GIB / 2, 400 << 20, 80, ' 25% [=====>              ]      512 MiB of 2 GiB     400 MiB/s    0:04 left'],
    [2 * GIB, 400 << 20, 80, '100% [====================]        2 GiB of 2 GiB     400 MiB/s    0:00 left'],
  ])('%d bytes at %d a second, on %d columns', (bytes, bytesPerSecond, columns, line) => {
    const found = barLine({ bytes, totalBytes: 2 * GIB, bytesPerSecond }, columns);
    expect(found.length).toBeLessThan(columns);
    expect(found.replaceAll(/ +/g, ' ').replace(/=+/, '=')).toBe(line.replaceAll(/ +/g, ' ').replace(/=+/, '='));
  });

  it('stays on its line, however long what it says and however narrow the terminal', () => {
    for (const columns of [20, 60, 70, 80, 200]) {
      const line = barLine({ bytes: 1.5 * 2 ** 50, totalBytes: 2 ** 53, bytesPerSecond: 1 }, columns);
      if (columns >= 70) expect(line.length, line).toBe(columns - 1);
      expect(line).toContain('%');
    }
  });

  it('without a length, says what has come', () => {
    expect(barLine({ bytes: GIB, totalBytes: null, bytesPerSecond: 1 << 20 }, 80)).toBe('1 GiB   1 MiB/s');
  });

  it('says hours where it takes hours', () => {
    expect(barLine({ bytes: 0, totalBytes: 3_723, bytesPerSecond: 1 }, 100)).toContain('1:02:03 left');
  });
});
