import { addonFailure, loadAddon } from './addon.js';
import { errnoName } from './errno.js';
import { EngineError } from './errors.js';

const FD_SHIFT = 2 ** 20;

/** Two connected stream sockets, for {@link Engine.adopt} or another thread. Throws ERR_UNSUPPORTED without the addon. */
export function socketPair(): [number, number] {
  const addon = loadAddon();
  if (addon === null) throw new EngineError('ERR_UNSUPPORTED', `a pair of sockets needs the addon (${addonFailure()})`);
  const ends = addon.socketPair();
  if (ends < 0) throw new EngineError(errnoName(ends), `no pair of sockets: ${errnoName(ends)}`);
  return [Math.floor(ends / FD_SHIFT), ends % FD_SHIFT];
}
