export { ExtentStore, type ExtentStatistics, type ExtentStoreOptions } from './extent-store.js';
export { ExtentError } from './layout.js';
