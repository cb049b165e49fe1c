import { useWatchdog } from '../support/watchdog.js';
import { engineContract } from './index.js';
import { makeRealWorld, REAL_FEATURES } from './real-world.js';

useWatchdog();
engineContract('io_uring', () => makeRealWorld('io_uring'), REAL_FEATURES);
