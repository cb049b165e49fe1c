import { engineContract } from './index.js';
import { makeRealWorld, REAL_FEATURES } from './real-world.js';

engineContract('libuv', () => makeRealWorld('libuv'), REAL_FEATURES);
