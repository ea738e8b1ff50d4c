/** A script for bash, from 3.2 on. Pure. */
import { type CompletedCommand, quoted, wordsOf } from './completion-tree.ts';

/** One branch of a `case`, where there is something to say. */
const branch = (key: string, value: string): readonly string[] =>
  value === '' ? [] : [`    ${quoted(key)}) echo ${quoted(value)} ;;`];

const facts = (tree: readonly CompletedCommand[]): readonly string[] =>
  tree.flatMap(({ path, commands, options, operand }) => [
    ...branch(`commands/${path}`, commands.map(({ name }) => name).join(' ')),
    ...branch(`options/${path}`, options.flatMap(({ names }) => names).join(' ')),
    ...branch(`operand/${path}`, wordsOf(operand)),
    ...options.flatMap(({ names, value }) =>
      value === undefined
        ? []
        : names.flatMap((name) => branch(`value/${path}/${name}`, wordsOf(value) || '@nothing')),
    ),
  ]);

export const bashCompletion = (
  tree: readonly CompletedCommand[],
): string => `# Completion of fairlane for bash, written by \`fairlane completion bash\`.

# What there is: commands/PATH, options/PATH, operand/PATH, value/PATH/OPTION.
_fairlane_facts() {
  case $1 in
${facts(tree).join('\n')}
  esac
}

# Completes the word in \`cur\`: \`@file\`, \`@tenants\` and their like, or the words themselves.
_fairlane_fill() {
  local line
  case $1 in
    '' | @nothing) return ;;
    @file)
      compopt -o filenames 2>/dev/null
      while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$cur")
      ;;
    @*)
      # bash parts words at colons, too: what is before the last one stands already.
      local where=() before=\${COMP_LINE:0:COMP_POINT} cut=''
      local whole=\${before##*[[:space:]=]}
      [[ $COMP_WORDBREAKS == *:* && $whole == *:* ]] && cut=\${whole%"\${whole##*:}"}
      [[ $COMP_LINE =~ (^|[[:space:]])(-c|--config)[[:space:]=]+([^[:space:]]+) ]] && where=(--config "\${BASH_REMATCH[3]}")
      [[ $COMP_LINE =~ (^|[[:space:]])(-a|--address)[[:space:]=]+([^[:space:]]+) ]] && where=(--address "\${BASH_REMATCH[3]}")
      while IFS= read -r line; do
        [[ $line == "$whole"* ]] || continue
        line=$(printf '%q' "$line")
        COMPREPLY+=("\${line#"$cut"}")
      done < <("\${COMP_WORDS[0]}" completion-values "\${1#@}" "\${where[@]}" 2>/dev/null)
      ;;
    *) while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -W "$1" -- "$cur") ;;
  esac
}

_fairlane() {
  local cur=\${COMP_WORDS[COMP_CWORD]} path='' expects='' word i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    # bash parts words at =.
    [[ $word == '=' ]] && continue
    if [[ -n $expects ]]; then
      expects=''
    elif [[ $word == -* ]]; then
      [[ -n $(_fairlane_facts "value/$path/$word") ]] && expects=$word
    elif [[ " $(_fairlane_facts "commands/$path") " == *" $word "* ]]; then
      path=\${path:+$path }$word
    fi
  done
  [[ $cur == '=' ]] && cur=''
  if [[ -n $expects ]]; then
    _fairlane_fill "$(_fairlane_facts "value/$path/$expects")"
  elif [[ $cur == -* ]]; then
    _fairlane_fill "$(_fairlane_facts "options/$path")"
  else
    _fairlane_fill "$(_fairlane_facts "commands/$path")"
    _fairlane_fill "$(_fairlane_facts "operand/$path")"
  fi
}

complete -F _fairlane fairlane
`;
