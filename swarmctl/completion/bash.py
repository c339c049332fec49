"""The script for bash. It needs nothing beyond bash 4.2, bash-completion's functions neither.

bash cuts words at ``=`` and ``:`` before it asks; the script puts them together again, and gives back only what stands
behind the last cut, which is what bash will replace.
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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from swarmctl.options import Option

_SCRIPT = r"""# bash completion for swarmctl(1)
# Made by `swarmctl completion bash` from the table of verbs; do not edit.

# Each verb: its options, where $values has those that take a value; what its positionals are, one word for each.
_swarmctl_verb() {
    case $1 in
@verbs@
        *) return 1 ;;
    esac
}

# What can stand in a place: words, or `ask:WHAT`, `files`, `commands`; several with commas between them after `many:`.
_swarmctl_place() {
    local place=$1 stem= word about
    if [[ $place == many:* ]]; then
        place=${place#many:}
        [[ $current == *,* ]] && stem=${current%,*},
    fi
    local typed=${current#"$stem"}
    for word in ${place//|/ }; do
        case $word in
            -) ;;
            files | commands)
                [[ $word == files ]] && compopt -o filenames 2>/dev/null
                while IFS= read -r word; do
                    found+=("$word")
                done < <(if [[ $word == files ]]; then compgen -f -- "$typed"; else compgen -c -- "$typed"; fi)
                ;;
            ask:*)
                while IFS=$'\t' read -r word about; do
                    [[ $word == "$typed"* ]] && found+=("$stem$word")
                done < <("${words[0]}" "${where[@]}" completion --of "${word#ask:}" 2>/dev/null)
                ;;
            *) [[ $word == "$typed"* ]] && found+=("$stem$word") ;;
        esac
    done
    [[ ${#found[@]} -eq 1 && ${found[0]} == *= ]] && compopt -o nospace 2>/dev/null
}

_swarmctl() {
    local -a words=() where=() found=()
    local at piece glued= word current verb= noun= options= values= places= command= pending= count=0 ended=
    for ((at = 0; at <= COMP_CWORD; at++)); do
        piece=${COMP_WORDS[at]}
        if [[ ${#words[@]} -gt 1 && ( -n $glued || $piece == [=:]* ) ]]; then
            words[${#words[@]} - 1]+=$piece
        else
            words+=("$piece")
        fi
        glued=
        [[ $piece == *[=:] && $at -lt $COMP_CWORD ]] && glued=yes
    done
    current=${words[${#words[@]} - 1]}
    values='@global_values@'
    for ((at = 1; at < ${#words[@]} - 1; at++)); do
        word=${words[at]}
        if [[ -n $pending ]]; then
            [[ $pending == --socket ]] && where=(--socket "$word")
            pending=
        elif [[ -n $ended ]]; then
            ((count++))
        elif [[ $word == -- ]]; then
            ended=yes
            [[ -n $command ]] && count=0 places='commands files...'
        elif [[ $word == --socket=* ]]; then
            where=("$word")
        elif [[ $word == -?* ]]; then
            [[ $values == *" $word="* ]] && pending=$word
        elif [[ -n $noun ]]; then
            verb="$noun $word" noun=
            _swarmctl_verb "$verb" || return
        elif [[ -z $verb ]]; then
            case $word in
                @nouns@) noun=$word ;;
                *) verb=$word; _swarmctl_verb "$verb" || return ;;
            esac
        else
            ((count++))
        fi
    done

    if [[ -n $pending ]]; then
        word=${values#*" $pending="}
        _swarmctl_place "${word%% *}"
    elif [[ -z $ended && $current == --*=* ]]; then
        word=${current%%=*}
        if [[ $values == *" $word="* ]]; then
            piece=${values#*" $word="}
            current=${current#*=}
            _swarmctl_place "${piece%% *}"
            found=("${found[@]/#/$word=}")
            current=$word=$current
        fi
    elif [[ -z $ended && $current == -* ]]; then
        _swarmctl_place "$(printf '%s|' @global_options@ $options)"
    elif [[ -n $noun ]]; then
        case $noun in
@second@
        esac
    elif [[ -z $verb ]]; then
        _swarmctl_place '@first@'
    else
        for word in $places; do
            [[ $count -eq 0 || $word == *... ]] && break
            ((count--))
        done
        [[ $count -eq 0 || $word == *... ]] && _swarmctl_place "${word%...}"
    fi

    piece=
    [[ $COMP_WORDBREAKS == *:* ]] && piece=${current%"${current##*:}"}
    [[ $COMP_WORDBREAKS == *=* && $current == *=* ]] && word=${current%"${current##*=}"} &&
        [[ ${#word} -gt ${#piece} ]] && piece=$word
    COMPREPLY=("${found[@]#"$piece"}")
}

complete -F _swarmctl swarmctl
"""


def script() -> str:
    """What bash reads."""
    second = [f"            {noun}) _swarmctl_place '{'|'.join(second_words(noun))}' ;;" for noun in parse.NOUNS]
    parts = {
        "verbs": "\n".join([line for each in spoken() for line in _verb(each)]),
        "global_values": _values(GLOBALS),
        "global_options": " ".join(_flags(GLOBALS)),
        "nouns": " | ".join(parse.NOUNS),
        "second": "\n".join(second),
        "first": "|".join(first_words()),
    }
    text = _SCRIPT
    for name, part in parts.items():
        text = text.replace(f"@{name}@", part)
    return text


def _verb(verb: Spoken) -> list[str]:
    lines = [f"        '{verb.name}')"]
    options = " ".join(_flags(verb.options))
    if options:
        lines.append(f"            options='{options}'")
        values = _values(verb.options).strip()
        if values:
            lines.append(f"            values+='{values} '")
    places = [_place(each) for each in verb.positionals]
    if verb.repeats:
        places[-1] += "..."
    if verb.command:
        lines.append("            command=yes")
    if places:
        lines.append(f"            places='{' '.join(places)}'")
    return [*lines, "            ;;"]


def _flags(options: Iterable[Option]) -> list[str]:
    return [flag for option in options for flag in option.flags]


def _values(options: Iterable[Option]) -> str:
    """`` --option=place …`` for those that take a value, in blanks."""
    pairs = [
        f"{flag}={_place(value(option)) or '-'}" for option in options if takes_value(option) for flag in option.flags
    ]
    return f" {' '.join(pairs)} "


def _place(place: Place) -> str:
    """A place as one word of the script."""
    parts = [*place.words, *([f"ask:{place.ask}"] if place.ask else []), *([place.files] if place.files else [])]
    return ("many:" if place.many else "") + ("|".join(parts) or "-")
