export { BlockStore } from './block-store.js';
export { StoreError } from './errors.js';
export { openBlockStore, StoreHandle, type StoreConnection } from './store-handle.js';
export { SimulatedStore, SimulatedStoreDisk } from './simulated.js';
export { damageAtStart } from './start-check.js';
export { PageCheck, storeDamaged, type PageCheckProgress } from './page-check.js';
