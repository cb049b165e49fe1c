export { ExtentStore, type ExtentStatistics, type ExtentStoreOptions } from './extent-store.js';
export { LayerRemoval } from './layer-removal.js';
export { ExtentError } from './layout.js';
