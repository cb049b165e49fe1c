import assert from 'node:assert/strict';

/**
 *  upgrading (to TLS)
 *      ▲ │ STARTTLS
 *      │ ▼
 *  handshake ──GO──▶ transmission ──DISC, EOF──▶ finishing ──all answered──▶ closing ──▶ gone
 *      │ └──GO, another owner──▶ moving ──all sent──▶ gone (or transmission)    ▲
 *      └──ABORT──▶ finishing          any ──error, violation, abort()───────────┘
 *  handshake, transmission ──handed over, at a boundary──▶ gone
 */
export type Phase = 'handshake' | 'upgrading' | 'transmission' | 'moving' | 'finishing' | 'closing' | 'gone';

const FOLLOWS: Readonly<Record<Phase, readonly Phase[]>> = {
  handshake: ['upgrading', 'transmission', 'moving', 'finishing', 'closing', 'gone'],
  upgrading: ['handshake', 'closing'],
  transmission: ['finishing', 'closing', 'gone'],
  moving: ['gone', 'transmission', 'closing'],
  finishing: ['closing'],
  closing: ['gone'],
  gone: ['handshake', 'transmission'],
};

/** `to`, where it may follow. */
export function nextPhase(from: Phase, to: Phase): Phase {
  assert(FOLLOWS[from].includes(to), `connection: ${from} → ${to}`);
  return to;
}
