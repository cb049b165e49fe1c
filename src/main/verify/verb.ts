import type { Command } from 'commander';
import { formatSize } from '../../base/size.js';
import { printJson } from '../../cli/output.js';
import { Progress } from '../../cli/progress.js';
import type { ClusterReport } from './cluster.js';
import type { Problem, VerifyReport } from './directory.js';

export function addVerifyVerb(program: Command): void {
  program
    .command('verify')
    .description('check all that a data directory holds, while nobody uses it; changes nothing. Exit status 1: something is wrong')
    .argument('<dir...>', 'data directories of nodes, or the directory of "gatepath up --nodes"')
    .option('--json', 'as JSON')
    .action(async (paths: readonly string[], options: { json?: true }) => {
      const { nodeDirectories, verifyCluster } = await import('./cluster.js');
      const directories = paths.flatMap(path => nodeDirectories(path));
      const progress = new Progress();
      const show = throttled((directory, doneBytes, totalBytes) =>
        progress.show(
          `${directories.length > 1 ? `${directory}: ` : ''}${Math.floor((100 * doneBytes) / Math.max(1, totalBytes))} % of ${formatSize(totalBytes)}`,
        ),
      );
      const report = verifyCluster(directories, show);
      progress.clear();
      const [alone] = report.nodes;
      if (options.json) printJson(report.nodes.length === 1 ? alone : report);
      else if (report.nodes.length === 1) printNode(alone!, '');
      else printCluster(report);
      if (!report.ok) process.exitCode = 1;
    });
}

function printNode({ problems, vdisks, logBytes, extentBytes }: VerifyReport, prefix: string): void {
  for (const problem of problems) console.log(`${prefix}${lineOf(problem)}`);
  const read = `${vdisks} vdisks, ${formatSize(logBytes)} of log, ${formatSize(extentBytes)} of extents`;
  console.log(`${prefix}${countOf(problems)}: ${read}`);
}

function printCluster({ nodes, problems, compared }: ClusterReport): void {
  for (const node of nodes) printNode(node, `${node.directory}: `);
  for (const problem of problems) console.log(`between nodes: ${lineOf(problem)}`);
  console.log(`between nodes: ${countOf(problems)}: the logs of ${compared} vdisks that more than one of them has`);
  console.log('etcd was not read: which copies are members, and what of their logs was committed, was not checked');
}

function countOf(problems: readonly Problem[]): string {
  const errors = problems.filter(({ severity }) => severity === 'error').length;
  return errors === 0 ? 'clean' : `${errors} ${errors === 1 ? 'problem' : 'problems'}`;
}

/** `web1 1048576+4096: what is wrong [code, file]`; a notice says that it is one. */
function lineOf({ severity, code, file, vdiskId, vdisk, offsetBytes, lengthBytes, message }: Problem): string {
  const name = vdisk ?? vdiskId;
  const range = offsetBytes === null ? '' : ` ${offsetBytes}+${lengthBytes}`;
  const where = name === null ? file : `${name}${range}`;
  return `${severity === 'notice' ? 'notice: ' : ''}${where}: ${message} [${code}${name === null ? '' : `, ${file}`}]`;
}

const SHOW_EVERY_MS = 200;

type Show = (directory: string, doneBytes: number, totalBytes: number) => void;

function throttled(show: Show): Show {
  let nextMs = 0;
  return (directory, doneBytes, totalBytes) => {
    const nowMs = performance.now();
    if (nowMs < nextMs) return;
    nextMs = nowMs + SHOW_EVERY_MS;
    show(directory, doneBytes, totalBytes);
  };
}
