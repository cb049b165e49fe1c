// Loaded before the command itself (NODE_OPTIONS=--import), in its threads too: a Stargate that dies of any request at one place, as long as a file is there.
import { existsSync } from 'node:fs';
import { Controller } from '../../dist/stargate/core/controller.js';

const POISONED_BYTES = 5 << 20;
const { submit } = Controller.prototype;

Controller.prototype.submit = function (request, path) {
  if (request.offsetBytes === POISONED_BYTES && existsSync(process.env['GATEPATH_POISON'])) throw new Error('poisoned');
  submit.call(this, request, path);
};
