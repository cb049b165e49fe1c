// Locks the directory argv[2], says so or who holds it, and stays until it is killed; with `release`, lets go and stays.
import { lockDirectory } from '../../dist/index.js';

const lock = lockDirectory(process.argv[2]);
if ('heldBy' in lock) {
  console.log(`held by ${lock.heldBy}`);
} else {
  if (process.argv[3] === 'release') lock.release();
  console.log('locked');
  setTimeout(() => undefined, 1e6);
}
