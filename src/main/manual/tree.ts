import type { Argument, Command, Option } from 'commander';
import { WORDS } from './words.js';

/** What may stand in a place of the command line. */
export type Value =
  { readonly kind: 'choices'; readonly choices: readonly string[] } | { readonly kind: 'file' | 'directory' | 'vdisk' | 'any' };

export interface OptionPage {
  /** As they are written: `--data`, `-h`. */
  readonly names: readonly string[];
  /** With its value: `--data <dir>`. */
  readonly flags: string;
  readonly description: string;
  /** Null: it takes none. */
  readonly value: Value | null;
}

export interface ArgumentPage {
  readonly name: string;
  readonly required: boolean;
  readonly description: string;
  readonly value: Value;
}

/** One command, with those below it; the shells' completions and the manual page are made from these. */
export interface CommandPage {
  /** Below the command itself: `vdisk create`; empty for that. */
  readonly path: string;
  readonly description: string;
  readonly arguments: readonly ArgumentPage[];
  readonly options: readonly OptionPage[];
  readonly examples: readonly string[];
  readonly commands: readonly CommandPage[];
}

/** Puts arguments' descriptions and the examples of {@link WORDS} where `--help` shows them. */
export function explain(command: Command, path: readonly string[] = []): void {
  const words = WORDS[path.join(' ')];
  for (const argument of command.registeredArguments) argument.description ||= words?.arguments?.[argument.name()] ?? '';
  if (words !== undefined) command.addHelpText('after', `\nExamples:\n${words.examples.map(line => `  ${line}`).join('\n')}`);
  for (const child of command.commands) explain(child, [...path, child.name()]);
}

export function pageOf(command: Command, path: readonly string[] = []): CommandPage {
  const help = command.createHelp();
  return {
    path: path.join(' '),
    description: command.description(),
    arguments: command.registeredArguments.map(argument => argumentPage(argument, path)),
    options: help.visibleOptions(command).map(optionPage),
    examples: WORDS[path.join(' ')]?.examples ?? [],
    commands: command.commands.map(child => pageOf(child, [...path, child.name()])),
  };
}

/** The page and all below it. */
export function allPages(page: CommandPage): CommandPage[] {
  return [page, ...page.commands.flatMap(allPages)];
}

function optionPage(option: Option): OptionPage {
  const { flags, description, argChoices: choices, defaultValue: preset } = option;
  const placeholder = /[<[]([^>\]]+)[>\]]/.exec(flags)?.[1] ?? null;
  const isTold = description.includes('default:') || preset === undefined || Array.isArray(preset) || typeof preset === 'boolean';
  return {
    names: [option.short, option.long].filter(name => name !== undefined),
    flags,
    description: isTold ? description : `${description} (default: ${String(preset)})`,
    value: placeholder === null ? null : valueOf(placeholder, option.long === '--vdisk' && placeholder === 'name', choices),
  };
}

/** Verbs of vdisks whose name is a new one's. */
const MAKERS = ['vdisk create', 'vdisk import'];

function argumentPage(argument: Argument, path: readonly string[]): ArgumentPage {
  const verb = path.join(' ');
  const name = argument.name();
  const isVdisk = name === 'vdisk' || (name === 'name' && path[0] === 'vdisk' && !MAKERS.includes(verb));
  return { name, required: argument.required, description: argument.description, value: valueOf(name, isVdisk, argument.argChoices) };
}

const FILES = ['file', 'source', 'target', 'socket'];

function valueOf(placeholder: string, isVdisk: boolean, choices: readonly string[] | undefined): Value {
  if (choices !== undefined) return { kind: 'choices', choices };
  if (isVdisk) return { kind: 'vdisk' };
  return { kind: placeholder === 'dir' ? 'directory' : FILES.includes(placeholder) ? 'file' : 'any' };
}
