#!/usr/bin/env node
import { CommanderError } from 'commander';
import { BAD_USAGE, reportError } from '../cli/output.js';
import { exit } from './exit.js';
import { gatepathCommand } from './program.js';

// Exit status: 0 done, 1 failed, 2 bad usage; of the services also 78: service/exit-status.ts.
try {
  await gatepathCommand().parseAsync();
} catch (error) {
  // Commander has said what was wrong by then. Help that was asked for is no mistake; help instead of a missing verb is.
  if (error instanceof CommanderError)
    process.exitCode = error.code === 'commander.help' ? BAD_USAGE : error.exitCode === 0 ? 0 : BAD_USAGE;
  else await exit(reportError(error));
}
