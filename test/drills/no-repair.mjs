// Loaded before the command itself (NODE_OPTIONS=--import), in its threads too: a Stargate that finds damaged blocks, and leaves them as they are.
import { BlockRepair } from '../../dist/stargate/runtime/group/block-repair.js';

BlockRepair.prototype.repair = () => undefined;
