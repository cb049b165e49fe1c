// Before anything is loaded: as on a system that has no compiler, or is not Linux.
process.env['URING_ENGINE_NO_ADDON'] = '1';

const { engineContract } = await import('./index.js');
const { makeRealWorld, REAL_FEATURES } = await import('./real-world.js');

engineContract('libuv without the addon', () => makeRealWorld('libuv'), REAL_FEATURES);
