/** A script for zsh: to be sourced, or put into a folder of `$fpath` as `_fairlane`. Pure. */
import { type CompletedCommand, quoted, wordsOf } from './completion-tree.ts';

/** A word with what it is, as \`_describe\` takes them. */
const described = (word: string, about: string): string => quoted(`${word.replaceAll(':', '\\:')}:${about}`);

const branch = (key: string, value: string): readonly string[] =>
  value === '' ? [] : [`    ${quoted(key)}) reply=(${value}) ;;`];

const facts = (tree: readonly CompletedCommand[]): readonly string[] =>
  tree.flatMap(({ path, commands, options, operand }) => [
    ...branch(`commands/${path}`, commands.map(({ name, about }) => described(name, about)).join(' ')),
    ...branch(
      `options/${path}`,
      options.flatMap(({ names, about }) => names.map((name) => described(name, about))).join(' '),
    ),
    ...branch(`operand/${path}`, wordsOf(operand) === '' ? '' : quoted(wordsOf(operand))),
    ...options.flatMap(({ names, value }) =>
      value === undefined
        ? []
        : names.flatMap((name) => branch(`value/${path}/${name}`, quoted(wordsOf(value) || '@nothing'))),
    ),
  ]);

export const zshCompletion = (tree: readonly CompletedCommand[]): string => `#compdef fairlane
# Completion of fairlane for zsh, written by \`fairlane completion zsh\`.

# What there is, into \`reply\`: commands/PATH, options/PATH, operand/PATH, value/PATH/OPTION.
_fairlane_facts() {
  reply=()
  case $1 in
${facts(tree).join('\n')}
  esac
}

_fairlane_fill() {
  local -a found where
  local i
  case $1 in
    '' | @nothing) return 1 ;;
    @file) _files ;;
    @*)
      for ((i = 2; i < $#words; i++)); do
        case $words[i] in
          -c | --config) where=(--config $words[i+1]) ;;
          -a | --address) where=(--address $words[i+1]) ;;
        esac
      done
      found=(\${(f)"$($words[1] completion-values \${1#@} $where 2>/dev/null)"})
      compadd -a found
      ;;
    *) compadd -- \${=1} ;;
  esac
}

_fairlane() {
  local cur=$words[CURRENT] at='' expects='' word i
  local -a reply items names
  for ((i = 2; i < CURRENT; i++)); do
    word=$words[i]
    if [[ -n $expects ]]; then
      expects=''
    elif [[ $word == -* ]]; then
      _fairlane_facts "value/$at/$word"
      ((\${#reply})) && expects=$word
    else
      _fairlane_facts "commands/$at"
      names=(\${reply%%:*})
      ((\${names[(Ie)$word]})) && at=\${at:+$at }$word
    fi
  done
  if [[ -z $expects && $cur == --*=* ]]; then
    expects=\${cur%%=*}
    compset -P '*='
  fi
  if [[ -n $expects ]]; then
    _fairlane_facts "value/$at/$expects"
    _fairlane_fill "$reply"
  elif [[ $cur == -* ]]; then
    _fairlane_facts "options/$at"
    items=($reply)
    _describe -o option items
  else
    _fairlane_facts "commands/$at"
    items=($reply)
    ((\${#items})) && _describe command items
    _fairlane_facts "operand/$at"
    _fairlane_fill "$reply"
  fi
}

if [[ \${funcstack[1]} == _fairlane ]]; then
  _fairlane "$@"
else
  compdef _fairlane fairlane
fi
`;
