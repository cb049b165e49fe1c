import type { Command } from 'commander';
import { formatSize } from '../../base/size.js';
import { printJson } from '../../cli/output.js';
import { Progress } from '../../cli/progress.js';
import type { Problem } from './directory.js';

export function addVerifyVerb(program: Command): void {
  program
    .command('verify')
    .description('check all that a data directory holds, while nobody uses it; changes nothing. Exit status 1: something is wrong')
    .argument('<dir>', 'the data directory of a node')
    .option('--json', 'as JSON')
    .action(async (directory: string, options: { json?: true }) => {
      const { verifyDirectory } = await import('./directory.js');
      const progress = new Progress();
      const show = throttled((doneBytes, totalBytes) =>
        progress.show(`${Math.floor((100 * doneBytes) / Math.max(1, totalBytes))} % of ${formatSize(totalBytes)}`),
      );
      const report = verifyDirectory(directory, show);
      progress.clear();
      if (options.json) printJson(report);
      else {
        for (const problem of report.problems) console.log(lineOf(problem));
        const errors = report.problems.filter(({ severity }) => severity === 'error').length;
        const { vdisks, logBytes, extentBytes } = report;
        const read = `${vdisks} vdisks, ${formatSize(logBytes)} of log, ${formatSize(extentBytes)} of extents`;
        console.log(errors === 0 ? `clean: ${read}` : `${errors} ${errors === 1 ? 'problem' : 'problems'}: ${read}`);
      }
      if (!report.ok) process.exitCode = 1;
    });
}

/** `web1 1048576+4096: what is wrong [code, file]`; a notice says that it is one. */
function lineOf({ severity, code, file, vdiskId, vdisk, offsetBytes, lengthBytes, message }: Problem): string {
  const name = vdisk ?? vdiskId;
  const range = offsetBytes === null ? '' : ` ${offsetBytes}+${lengthBytes}`;
  const where = name === null ? file : `${name}${range}`;
  return `${severity === 'notice' ? 'notice: ' : ''}${where}: ${message} [${code}${name === null ? '' : `, ${file}`}]`;
}

const SHOW_EVERY_MS = 200;

function throttled(show: (doneBytes: number, totalBytes: number) => void): (doneBytes: number, totalBytes: number) => void {
  let nextMs = 0;
  return (doneBytes, totalBytes) => {
    const nowMs = performance.now();
    if (nowMs < nextMs) return;
    nextMs = nowMs + SHOW_EVERY_MS;
    show(doneBytes, totalBytes);
  };
}
