/** The time of day jumps by a year, back and forth, each time it is asked for. Loaded before the command, in its threads too. */

const RealDate = Date;
const YEAR_MS = 365 * 86_400_000;
const JUMPS = [0, YEAR_MS, -YEAR_MS, YEAR_MS / 2];
let asked = 0;
const now = () => RealDate.now() + JUMPS[asked++ % JUMPS.length];

globalThis.Date = class extends RealDate {
  constructor(...parts) {
    if (parts.length === 0) super(now());
    else super(...parts);
  }

  static now() {
    return now();
  }
};
