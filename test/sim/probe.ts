import { RequestState, SessionState } from '../../src/stargate/core/sessions.js';

/** How often a request was recognised as one that is committed, or in flight: it came again. Counted from outside: the core has no counter for it. */
let hits = 0;
const { stateOf } = SessionState.prototype;
SessionState.prototype.stateOf = function (this: SessionState, clientSeq: number): number {
  const state = stateOf.call(this, clientSeq);
  if (state === RequestState.committed || state === RequestState.inFlight) hits++;
  return state;
};

export const dedupeHits = (): number => hits;
