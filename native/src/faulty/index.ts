export { VirtualClock, type ClockEvent } from './clock.js';
export { FaultyDisk, PowerLoss, type DiskObserver, type FaultyDiskOptions, type Mounted } from './disk.js';
export { FaultyEngine } from './engine.js';
export type { Fault, FaultList, FaultOperation } from './faults.js';
export { Inode } from './inode.js';
export { BLOCK_BYTES, SECTOR_BYTES } from './limits.js';
export { seededRandom, type Random } from './random.js';
