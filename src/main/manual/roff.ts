import { allPages, type CommandPage } from './tree.js';

/** gatepath(1) in man's macros: verbs with their arguments, options and examples. */
export function manualPage(root: CommandPage, version: string): string {
  const verbs = allPages(root).filter(({ commands }) => commands.length === 0);
  return [
    `.TH GATEPATH 1 "" "gatepath ${escape(version)}" "Gatepath"`,
    '.SH NAME',
    `gatepath \\- ${escape(root.description)}`,
    '.SH SYNOPSIS',
    '.B gatepath',
    '.I verb',
    '[\\fIarguments\\fR] [\\fIoptions\\fR]',
    '.SH DESCRIPTION',
    ...DESCRIPTION.map(line),
    '.SH VERBS',
    ...verbs.flatMap(section),
    '.SH EXIT STATUS',
    ...term('\\fB0\\fR', 'done'),
    ...term('\\fB1\\fR', 'failed: what was wrong, and what to do, is on standard error, with a code that stays the same (ERR_...)'),
    ...term('\\fB2\\fR', 'bad usage'),
    '.SH SEE ALSO',
    '.BR nbdinfo (1),',
    '.BR qemu\\-img (1),',
    '.BR systemctl (1)',
    '',
  ].join('\n');
}

const DESCRIPTION = [
  'A guest\'s disk goes by NBD to the datapath of its host, and from there to Stargate, which keeps it in a checksummed log and extents, on one node or on several. "gatepath up" runs all of that in one process; "gatepath stargate" and "gatepath datapath" are the two services. The other verbs manage a running system: they find it by --data or --url.',
];

function section({ path, description, arguments: given, options, examples }: CommandPage): string[] {
  const places = given.map(({ name, required }) => (required ? `\\fI${escape(name)}\\fR` : `[\\fI${escape(name)}\\fR]`));
  return [
    `.SS gatepath ${[escape(path), ...places].join(' ')}`,
    line(sentence(description)),
    ...given.flatMap(({ name, description: what }) => term(`\\fI${escape(name)}\\fR`, what)),
    ...options.filter(({ names }) => !names.includes('--help')).flatMap(({ flags, description: what }) => term(flagsText(flags), what)),
    ...(examples.length === 0 ? [] : ['.PP', examples.length > 1 ? 'Examples:' : 'Example:', '.PP', '.nf', '.RS']),
    ...examples.map(line),
    ...(examples.length === 0 ? [] : ['.RE', '.fi']),
  ];
}

const flagsText = (flags: string): string =>
  flags
    .split(' ')
    .map(part => (part.startsWith('-') ? `\\fB${escape(part)}\\fR` : `\\fI${escape(part.replace(/[<>]/g, ''))}\\fR`))
    .join(' ');

const term = (head: string, text: string): string[] => ['.TP', head, line(text)];
const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}${text.endsWith('.') ? '' : '.'}`;
const escape = (text: string): string => text.replaceAll('\\', '\\e').replaceAll('-', '\\-').replaceAll("'", '\\(aq');
/** A line of text: a dot or an apostrophe at its beginning would make a request of it. */
const line = (text: string): string => escape(text).replace(/^\./, '\\&.');
