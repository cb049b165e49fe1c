import assert from 'node:assert/strict';

/** From which state which event leads where: what is not in it is our bug. */
export type Transitions<State extends string, Event extends string> = Readonly<Record<State, Partial<Record<Event, State>>>>;

/** The checked setter: gives the next state, or ends the process. */
export function go<Kind extends string, Event extends string, To extends { readonly kind: NoInfer<Kind> }>(
  table: Transitions<Kind, Event>,
  from: { readonly kind: NoInfer<Kind> },
  event: NoInfer<Event>,
  to: To,
): To {
  const legal: string | undefined = table[from.kind][event];
  assert(legal === to.kind, `${event} leads from ${from.kind} to ${legal ?? 'nothing'}, not to ${to.kind}`);
  return to;
}
