import type { FaultContext } from './scenario.js';
import { controllerOf } from './roles.js';
import { whileItGoesOn } from './patience.js';

/** Another node serves the vdisk while `during` runs; the one that had it stays a member. For a system of the drill's own: it hands over all it controls. */
export async function servedElsewhere(context: FaultContext, id: string, during: () => Promise<void>): Promise<void> {
  const { cluster, watch } = context;
  const setDraining = (isDraining: boolean): Promise<unknown> => cluster.ask(client => client.setDraining(id, isDraining));
  context.undo(() => setDraining(false).then(() => undefined));
  await setDraining(true);
  const isElsewhere = (): boolean => watch.view?.controller != null && controllerOf(context) !== id;
  await whileItGoesOn(`${id} hands over`, () => ({ isDone: isElsewhere(), text: watch.text }));
  watch.mark('state', `${id} has handed over to ${controllerOf(context)}`);
  await during();
  await setDraining(false);
}
