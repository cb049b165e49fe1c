import assert from 'node:assert/strict';

/** From which state which event leads where: what is not in it is our bug. */
export type Transitions<State extends string, Event extends string> = Readonly<Record<State, Partial<Record<Event, State>>>>;

/** The checked setter: gives the next state, or ends the process. */
export function go<State extends { readonly kind: string }, Event extends string>(
  table: Transitions<State['kind'], Event>,
  from: State,
  event: Event,
  to: State,
): State {
  const legal: string | undefined = table[from.kind as State['kind']][event];
  assert(legal === to.kind, `${event} leads from ${from.kind} to ${legal ?? 'nothing'}, not to ${to.kind}`);
  return to;
}
