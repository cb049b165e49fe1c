// A shard's thread runs the tests' TypeScript as it is.
import { register } from 'tsx/esm/api';
register();
const { runTestShard } = await import('./parts.ts');
export default runTestShard;
