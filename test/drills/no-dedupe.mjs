// Loaded before the command itself (NODE_OPTIONS=--import), in its threads too: a Stargate that forgets which requests it has seen.
import { NodePart } from '../../dist/stargate/runtime/node-part.js';

for (const name of ['serve', 'create']) {
  const real = NodePart.prototype[name];
  NodePart.prototype[name] = function (...args) {
    this.options = { ...this.options, mutations: { controller: { noDedupe: true } } };
    return real.apply(this, args);
  };
}
