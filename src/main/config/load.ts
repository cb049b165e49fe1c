import { readFileSync, statSync } from 'node:fs';
import { isNode, LineCounter, parseDocument, type Document } from 'yaml';
import type { z } from 'zod';
import { GatepathError } from '../../base/errors.js';

const MAX_CONFIG_BYTES = 1 << 20;

/** Reads and validates a configuration file. Throws GatepathError that names the file, the line and the key, and says what it should be. */
export function loadConfig<T>(path: string, schema: z.ZodType<T>): T {
  const lines = new LineCounter();
  const document = parseDocument(readText(path), { lineCounter: lines, prettyErrors: true });
  const broken = document.errors[0];
  if (broken !== undefined) throw invalid(`${path}: ${broken.message.split('\n')[0]!.replace(/:$/, '')}`);
  const parsed = schema.safeParse(document.toJS() ?? {});
  if (parsed.success) return parsed.data;
  throw invalid(parsed.error.issues.map(issue => describe(path, document, lines, issue)).join('\n'));
}

/** The keys at the top of a file that may be no valid configuration. */
export function topKeys(path: string): string[] {
  const top: unknown = parseDocument(readText(path)).toJS();
  return typeof top === 'object' && top !== null ? Object.keys(top) : [];
}

function readText(path: string): string {
  try {
    if (statSync(path).size > MAX_CONFIG_BYTES) throw new Error(`it has more than ${MAX_CONFIG_BYTES} bytes`);
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw invalid(`the configuration ${path} cannot be read: ${(cause as Error).message}`);
  }
}

function describe(path: string, document: Document, lines: LineCounter, issue: z.core.$ZodIssue): string {
  const keys = issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0]!] : issue.path;
  const message = issue.code === 'unrecognized_keys' ? 'is no key of this configuration' : issue.message;
  const name = keys.length === 0 ? '' : `${keys.map(String).join('.')}: `;
  return `${path}, line ${lineOf(document, lines, keys)}: ${name}${message}`;
}

/** Of the key itself where it is there, else of the map that should have it. */
function lineOf(document: Document, lines: LineCounter, keys: readonly PropertyKey[]): number {
  for (let depth = keys.length; depth > 0; depth--) {
    const node = document.getIn(keys.slice(0, depth), true);
    if (isNode(node) && node.range) return lines.linePos(node.range[0]).line;
  }
  return 1;
}

function invalid(message: string): GatepathError {
  return new GatepathError('invalid', 'ERR_CONFIG', message, 'correct it; "gatepath config example" prints a configuration with comments');
}
