"""The script for zsh: specifications for ``_arguments``, with what each option and verb means.

It can stand in ``fpath`` as ``_swarmctl``, or be read by ``source <(swarmctl completion zsh)`` after ``compinit``.
"""

from __future__ import annotations

from swarmctl import parse
from swarmctl.completion.places import (
    GLOBALS,
    Place,
    Spoken,
    first_words,
    second_words,
    spoken,
    takes_value,
    value,
)
from swarmctl.values import LISTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from swarmctl.options import Option

_SCRIPT = r"""#compdef swarmctl
# zsh completion for swarmctl(1)
# Made by `swarmctl completion zsh` from the table of verbs; do not edit.

# Each of these three gets its own word last, behind what is for compadd.

# What there is now, from the daemon that the command line names.
_swarmctl_ask() {
    local line
    local -a found told
    for line in "${(@f)$(${(Q)_swarmctl_program} $_swarmctl_where completion --of $@[-1] 2>/dev/null)}"; do
        [[ -n $line ]] || continue
        found+=("${line%%$'\t'*}")
        told+=("${line/$'\t'/ -- }")
    done
    (( $#found )) && compadd "$@[1,-2]" -l -d told -a found
}

_swarmctl_words() {
    local -a found
    found=(${(s:|:)@[-1]})
    compadd "$@[1,-2]" -a found
}

_swarmctl_settings() {
    local -a found
    found=(${(s:|:)@[-1]})
    compadd "$@[1,-2]" -S = -a found
}

@functions@
_swarmctl() {
    local curcontext=$curcontext context state state_descr line verb
    local _swarmctl_program=$words[1]
    local -A opt_args
    local -a globals _swarmctl_where
    globals=(
@globals@
    )
    _arguments -C -S $globals '1: :_swarmctl_first' '*:: :->rest' && return
    [[ $state == rest ]] || return 1
    verb=$words[1]
    [[ -n $opt_args[--socket] ]] && _swarmctl_where=(--socket ${(Q)opt_args[--socket]})
    case $verb in
        @nouns@)
            state=
            _arguments -C -S $globals "1: :_swarmctl_second $verb" '*:: :->rest' && return
            [[ $state == rest ]] || return 1
            verb="$verb $words[1]"
            ;;
    esac
    case $verb in
@verbs@
    esac
}

if [[ $funcstack[1] == _swarmctl ]]; then
    _swarmctl "$@"
else
    compdef _swarmctl swarmctl
fi
"""


def script() -> str:
    """What zsh reads."""
    cases = [f"        {noun})\n{_described(noun, second_words(noun), 12)}\n            ;;" for noun in parse.NOUNS]
    second = ["_swarmctl_second() {", "    case $@[-1] in", *cases, "    esac", "}", ""]
    functions = ["_swarmctl_first() {", _described("verb", first_words(), 4), "}", "", *second]
    parts = {
        "functions": "\n".join(functions),
        "globals": "\n".join(f"        {spec}" for option in GLOBALS for spec in _option(option)),
        "nouns": "|".join(parse.NOUNS),
        "verbs": "\n".join(line for each in spoken() for line in _verb(each)),
    }
    text = _SCRIPT
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    return text


def _described(what: str, words: Mapping[str, str], indent: int) -> str:
    """Words with what they mean, as ``_describe`` takes them."""
    blanks = " " * indent
    rows = [f"{blanks}    {_quoted(word + ':' + meaning)}" for word, meaning in words.items()]
    return "\n".join(
        [f"{blanks}local -a found", f"{blanks}found=(", *rows, f"{blanks})", f"{blanks}_describe {_quoted(what)} found"]
    )


def _verb(verb: Spoken) -> list[str]:
    specs = [spec for option in verb.options for spec in _option(option)]
    for number, place in enumerate(verb.positionals, 1):
        last = number == len(verb.positionals)
        where = "*" if last and verb.repeats else str(number)
        specs += [_quoted(f"{where}: :{_action(place)}")]
    if verb.command:
        specs += [_quoted("*:::command: _normal")]
    own = {flag for option in verb.options for flag in option.flags}
    shadowed = "|".join(sorted(flag for option in GLOBALS for flag in option.flags if flag in own))
    # an option of the verb stands for the one of every verb that has its name
    everywhere = f"${{globals:#\\(({shadowed})\\)*}}" if shadowed else "$globals"
    lines = [f"            _arguments -S {everywhere}", *[f"                {spec}" for spec in specs]]
    return [f"        {_quoted(verb.name)})", " \\\n".join(lines), "            ;;"]


def _option(option: Option) -> list[str]:
    """The specifications of an option, one for each of its spellings."""
    others = " ".join(option.flags)
    again = "*" if option.kind in LISTS else f"({others})"
    meaning = "".join("\\" + letter if letter in "[]\\" else letter for letter in option.meaning)
    found = []
    for flag in option.flags:
        if not takes_value(option):
            found += [_quoted(f"{again}{flag}[{meaning}]")]
            continue
        joined = "=" if flag.startswith("--") else "+"
        place = value(option)
        meta = option.meta.replace(":", "\\:")
        found += [_quoted(f"{again}{flag}{joined}[{meaning}]:{meta}:{_action(place)}")]
    return found


def _action(place: Place) -> str:
    """What completes a place: an action of ``_arguments``. A blank is one that offers nothing."""
    actions = []
    if place.words and all(word.endswith("=") for word in place.words):
        actions.append(f"_swarmctl_settings {_bar([word[:-1] for word in place.words])}")
    elif place.words:
        actions.append(f"_swarmctl_words {_bar(place.words)}")
    if place.ask:
        actions.append(f"_swarmctl_ask {place.ask}")
    if place.files:
        actions.append("_files")
    if not actions:
        return " "
    if place.many:
        actions = [f"_sequence {action.replace(' ', ' - ', 1)}" for action in actions]
    if len(actions) == 1:
        return actions[0]
    return "{" + "; ".join(action.replace(" ", ' "$expl[@]" ', 1) for action in actions) + "}"


def _bar(words: list[str] | tuple[str, ...]) -> str:
    return '"' + "|".join(words) + '"'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
