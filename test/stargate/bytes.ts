/** As `toEqual`, which takes a second for a megabyte, and a minute to say what differs. */
export function expectBytes(found: unknown, expected: Uint8Array): void {
  if (!(found instanceof Uint8Array)) throw new Error(`no content, but ${String(found)}`);
  if (found.length !== expected.length) throw new Error(`${found.length} bytes, not ${expected.length}`);
  const at = found.findIndex((byte, i) => byte !== expected[i]);
  if (at >= 0) throw new Error(`byte ${at} is ${found[at]}, not ${expected[at]}`);
}
