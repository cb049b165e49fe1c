/** Replaces methods of a class; the result puts them back. */
export function replace<T extends object>(prototype: T, methods: Partial<T>): () => void {
  const names = Object.keys(methods) as (keyof T)[];
  const before = names.map(name => [name, Object.getOwnPropertyDescriptor(prototype, name)!] as const);
  Object.assign(prototype, methods);
  return () => {
    for (const [name, descriptor] of before) Object.defineProperty(prototype, name, descriptor);
  };
}
