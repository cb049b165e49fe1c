// Loaded before the command itself (NODE_OPTIONS=--import), in its threads too: a Stargate that forgets which requests it has seen.
import { RequestState, SessionState } from '../../dist/stargate/core/sessions.js';

SessionState.prototype.stateOf = () => RequestState.unknown;
