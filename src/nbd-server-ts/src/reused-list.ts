/**
 * A list that is filled and emptied every turn. Emptying an array by its length gives its memory back, and the next push allocates
 * anew; this one keeps it, and what was in it until it is overwritten: for objects that live as long as the list.
 */
export class ReusedList<T> {
  readonly items: T[] = [];
  count = 0;

  push(item: T): void {
    this.items[this.count++] = item;
  }

  clear(): void {
    this.count = 0;
  }
}
