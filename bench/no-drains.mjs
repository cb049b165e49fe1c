// Loaded before the command itself (NODE_OPTIONS=--import), in its threads too: Stargates that drain nothing, so that their logs grow as long as one likes.
import { DrainScheduler } from '../dist/stargate/runtime/drain-scheduler.js';

DrainScheduler.prototype.add = () => undefined;
