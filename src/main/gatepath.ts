#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { addAttachmentVerbs } from '../cli/attachment.js';
import { addContainerVerbs } from '../cli/container.js';
import { addEventsVerb } from '../cli/events.js';
import { addNodeVerbs } from '../cli/node.js';
import { BAD_USAGE, reportError } from '../cli/output.js';
import { addStatusVerb } from '../cli/status.js';
import { addTopVerb } from '../cli/top/verb.js';
import { addVdiskVerbs } from '../cli/vdisk.js';
import { addDrillVerb } from '../drill/verb.js';
import { addClusterVerbs } from './cluster/verbs.js';
import { addProcessVerbs } from './verbs.js';
import { addVerifyVerb } from './verify/verb.js';
import { VERSION } from './version.js';

/** The command. Exit status: 0 done, 1 failed, 2 bad usage. */
const program = new Command('gatepath')
  .description('userspace block data path for hyperconverged hosts')
  .version(VERSION)
  .showSuggestionAfterError()
  .showHelpAfterError('(--help shows how it is used)')
  .exitOverride();
addProcessVerbs(program);
addClusterVerbs(program);
addContainerVerbs(program);
addVdiskVerbs(program);
addAttachmentVerbs(program);
addNodeVerbs(program);
addStatusVerb(program);
addVerifyVerb(program);
addTopVerb(program);
addEventsVerb(program);
addDrillVerb(program);

try {
  await program.parseAsync();
} catch (error) {
  // Commander has said what was wrong by then. Help that was asked for is no mistake; help instead of a missing verb is.
  if (error instanceof CommanderError)
    process.exitCode = error.code === 'commander.help' ? BAD_USAGE : error.exitCode === 0 ? 0 : BAD_USAGE;
  else process.exit(reportError(error));
}
