import type { Command } from 'commander';
import { VERSION } from '../version.js';
import type { Shell } from './completion.js';
import { pageOf } from './tree.js';

/** Verbs that tell of the command itself, from its own verbs and options. */
export function addManualVerbs(program: Command): void {
  const completion = program.command('completion').description('print a script with which a shell completes command lines of gatepath');
  const shells: readonly Shell[] = ['bash', 'zsh', 'fish'];
  for (const shell of shells) {
    completion
      .command(shell)
      .description(`for ${shell}`)
      .action(async () => {
        const { completionScript } = await import('./completion.js');
        process.stdout.write(completionScript(shell, pageOf(program)));
      });
  }
  program
    .command('man-page')
    .description('print the manual page gatepath(1)')
    .action(async () => {
      const { manualPage } = await import('./roff.js');
      process.stdout.write(manualPage(pageOf(program), VERSION));
    });
}
