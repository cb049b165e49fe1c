import { Command } from 'commander';
import { addAttachmentVerbs } from '../cli/attachment.js';
import { addContainerVerbs } from '../cli/container.js';
import { addEventsVerb } from '../cli/events.js';
import { addNodeVerbs } from '../cli/node.js';
import { addStatusVerb } from '../cli/status.js';
import { addTopVerb } from '../cli/top/verb.js';
import { addVdiskVerbs } from '../cli/vdisk.js';
import { addDrillVerb } from '../drill/verb.js';
import { addClusterVerbs } from './cluster/verbs.js';
import { explain } from './manual/tree.js';
import { addManualVerbs } from './manual/verbs.js';
import { addProcessVerbs } from './verbs.js';
import { addVerifyVerb } from './verify/verb.js';
import { VERSION } from './version.js';

/** The command with all its verbs; nothing runs yet. */
export function gatepathCommand(): Command {
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
  addManualVerbs(program);
  explain(program);
  return program;
}
