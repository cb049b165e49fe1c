import { allPages, type CommandPage, type OptionPage, type Value } from './tree.js';

export type Shell = 'bash' | 'zsh' | 'fish';

/** A script that completes command lines of `gatepath` in the shell. Vdisks' names it asks of the running system; the rest it has in itself. */
export function completionScript(shell: Shell, root: CommandPage): string {
  const pages = allPages(root);
  return { bash: bashScript, zsh: zshScript, fish: fishScript }[shell](pages);
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
const nameOf = ({ path }: CommandPage): string => path.slice(path.lastIndexOf(' ') + 1);
const shown = ({ options }: CommandPage): OptionPage[] => options.filter(({ names }) => !names.includes('--help'));

/** Options with a value, of all verbs: what follows one is no argument. None is with a value at one verb and without at another (a test sees to it). */
function withValue(pages: readonly CommandPage[]): string[] {
  return [...new Set(pages.flatMap(({ options }) => options.filter(({ value }) => value !== null).flatMap(({ names }) => names)))];
}

/** What a shell does at a place of the command line, by what may stand there. */
type Actions = Readonly<Record<Exclude<Value['kind'], 'choices'>, string>> & { readonly choices: (choices: readonly string[]) => string };

const actionAt = (value: Value, actions: Actions): string =>
  value.kind === 'choices' ? actions.choices(value.choices) : actions[value.kind];

const VDISKS = `  local i data=()
  for ((i = 1; i < \${#words[@]}; i++)); do
    case \${words[i]} in --data|--url) data=("\${words[i]}" "\${words[i+1]}") ;; esac
  done
  "\${words[0]}" vdisk list "\${data[@]}" 2>/dev/null | awk 'NR > 1 { print $1 }'`;

/** Bash and zsh alike: `at` is the verb so far, `position` the number of its arguments before the word. */
function walk(pages: readonly CommandPage[], first: number): string {
  const steps = pages
    .filter(({ path }) => path !== '')
    .map(({ path }) => `      ${quoted(` ${path}`)}) at=${quoted(` ${path}`)}; continue ;;`);
  return `  local at='' position=0 i word
  for ((i = ${first}; i < cword; i++)); do
    word=\${words[i]}
    case $word in
      ${withValue(pages).join('|')}) ((i++)); continue ;;
      -*) continue ;;
    esac
    case "$at $word" in
${steps.join('\n')}
    esac
    ((position++))
  done`;
}

/** A line of the table for each place: after an option (\`VERB:--option\`), and at an argument (\`VERB:0\`). */
function places(pages: readonly CommandPage[]): [place: string, value: Value][] {
  return pages.flatMap(page => [
    ...page.options.flatMap(({ names, value }) =>
      value === null ? [] : names.map((name): [string, Value] => [`${page.path}:${name}`, value]),
    ),
    ...page.arguments.map(({ value }, at): [string, Value] => [`${page.path}:${at}`, value]),
  ]);
}

const paths = (flag: string): string => `compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen ${flag} -- "$cur")`;
const BASH: Actions = {
  choices: choices => `COMPREPLY=($(compgen -W ${quoted(choices.join(' '))} -- "$cur"))`,
  vdisk: 'COMPREPLY=($(compgen -W "$(_gatepath_vdisks)" -- "$cur"))',
  file: paths('-f'),
  directory: paths('-d'),
  any: ':',
};

const ZSH: Actions = {
  choices: choices => `compadd -- ${choices.map(quoted).join(' ')}`,
  vdisk: 'compadd -- $(_gatepath_vdisks)',
  file: '_files',
  directory: '_files -/',
  any: ':',
};

const FISH: Actions = {
  choices: choices => `-a ${quoted(choices.join(' '))}`,
  vdisk: `-a '(__gatepath_vdisks)'`,
  file: '-F',
  directory: `-a '(__fish_complete_directories)'`,
  any: '',
};

/** Bash and zsh alike. */
function placeFunction(pages: readonly CommandPage[], actions: Actions): string {
  const lines = places(pages).map(([place, value]) => `    ${quoted(` ${place}`)}) ${actionAt(value, actions)} ;;`);
  return `_gatepath_place() {
  case $1 in
${lines.join('\n')}
    *) return 1 ;;
  esac
}`;
}

function bashScript(pages: readonly CommandPage[]): string {
  const words = (page: CommandPage, of: readonly string[]): string =>
    `    ${quoted(` ${page.path}`)}) COMPREPLY=($(compgen -W ${quoted(of.join(' '))} -- "$cur")) ;;`;
  return `# bash completion of gatepath
_gatepath_vdisks() {
${VDISKS}
}
${placeFunction(pages, BASH)}
_gatepath() {
  local words=("\${COMP_WORDS[@]}") cword=$COMP_CWORD cur=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]}
  COMPREPLY=()
${walk(pages, 1)}
  [[ $before == -* ]] && _gatepath_place " \${at# }:$before" && return
  if [[ $cur == -* ]]; then
    case " \${at# }" in
${pages.map(page => words(page, [...shown(page).flatMap(({ names }) => names), '--help'])).join('\n')}
    esac
    return
  fi
  _gatepath_place " \${at# }:$position" && return
  case " \${at# }" in
${pages
  .filter(({ commands }) => commands.length > 0)
  .map(page => words(page, page.commands.map(nameOf)))
  .join('\n')}
  esac
}
complete -F _gatepath gatepath
`;
}

function zshScript(pages: readonly CommandPage[]): string {
  const described = (entries: readonly (readonly [string, string])[]): string =>
    entries.map(([name, description]) => quoted(`${name.replaceAll(':', '\\:')}:${description}`)).join(' ');
  const list = (page: CommandPage, tag: string, entries: readonly (readonly [string, string])[]): string =>
    `      ${quoted(` ${page.path}`)}) list=(${described(entries)}); _describe ${tag} list ;;`;
  return `#compdef gatepath
_gatepath_vdisks() {
  emulate -L zsh -o KSH_ARRAYS
${VDISKS}
}
${placeFunction(pages, ZSH)}
_gatepath() {
  local cword=$CURRENT cur=$words[CURRENT] before=$words[CURRENT-1]
  local -a list
${walk(pages, 2)}
  [[ $before == -* ]] && _gatepath_place " \${at# }:$before" && return
  if [[ $cur == -* ]]; then
    case " \${at# }" in
${pages.map(page => list(page, 'option', [...shown(page).flatMap(({ names, description }) => names.map(name => [name, description] as const)), ['--help', 'how it is used']])).join('\n')}
    esac
    return
  fi
  _gatepath_place " \${at# }:$position" && return
  case " \${at# }" in
${pages
  .filter(({ commands }) => commands.length > 0)
  .map(page =>
    list(
      page,
      'command',
      page.commands.map(child => [nameOf(child), child.description] as const),
    ),
  )
  .join('\n')}
  esac
}
# Loaded from a directory of $fpath it is the function itself; sourced it has to say what it is for.
if [ "$funcstack[1]" = "_gatepath" ]; then _gatepath "$@"; else compdef _gatepath gatepath; fi
`;
}

function fishScript(pages: readonly CommandPage[]): string {
  const at = ({ path }: CommandPage): string => `-n ${quoted(`__gatepath_at "${path}"`)}`;
  const lines = pages.flatMap(page => [
    ...page.commands.map(child => `complete -c gatepath -f ${at(page)} -a ${nameOf(child)} -d ${quoted(child.description)}`),
    ...page.options.map(({ names, value, description }) => {
      const flags = names.map(name => (name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`)).join(' ');
      return `complete -c gatepath ${at(page)} ${flags} -d ${quoted(description)} ${value === null ? '-f' : `-x ${actionAt(value, FISH)}`.replace('-x -F', '-r -F')}`.trimEnd();
    }),
    ...page.arguments.map(({ value, description }, position) =>
      `complete -c gatepath -n ${quoted(`__gatepath_at "${page.path}" ${position}`)} -d ${quoted(description)} ${value.kind === 'file' ? '-F' : `-f ${actionAt(value, FISH)}`}`.trimEnd(),
    ),
  ]);
  return `# fish completion of gatepath
set -g __gatepath_verbs ${pages
    .filter(({ path }) => path !== '')
    .map(({ path }) => quoted(path))
    .join(' ')}
set -g __gatepath_with_value ${withValue(pages).join(' ')}
# Whether the command line has come to this verb, and to this number of its arguments.
function __gatepath_at
    set -l at ''
    set -l position 0
    set -l skip 0
    for word in (commandline -opc)[2..]
        if test $skip = 1
            set skip 0
        else if contains -- $word $__gatepath_with_value
            set skip 1
        else if string match -q -- '-*' $word
        else if contains -- (string trim "$at $word") $__gatepath_verbs
            set at (string trim "$at $word")
        else
            set position (math $position + 1)
        end
    end
    test "$at" = "$argv[1]"; and begin
        test (count $argv) -lt 2; or test $position = $argv[2]
    end
end
function __gatepath_vdisks
    set -l words (commandline -opc)
    set -l data
    for i in (seq 2 (count $words))
        contains -- $words[$i] --data --url; and set data $words[$i] $words[(math $i + 1)]
    end
    $words[1] vdisk list $data 2>/dev/null | awk 'NR > 1 { print $1 }'
end
${lines.join('\n')}
`;
}
