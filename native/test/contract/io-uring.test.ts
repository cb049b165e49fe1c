import { engineContract } from './index.js';
import { makeRealWorld, REAL_FEATURES } from './real-world.js';

engineContract('io_uring', () => makeRealWorld('io_uring'), REAL_FEATURES);
