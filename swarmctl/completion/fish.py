"""The script for fish: one ``complete`` line for each word and option, with what it means.

fish forgets nothing that it was told, so the script first has it forget what it knew of swarmctl.
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
    from swarmctl.options import Option

_SCRIPT = r"""# fish completion for swarmctl(1)
# Made by `swarmctl completion fish` from the table of verbs; do not edit.

# The words of the line before the one that is typed, without options and their values: the verb, then positionals.
# What stands after -- is left out, but for that mark itself.
function __swarmctl_words
    set -l skip
    for word in (commandline -opc)[2..]
        if test -n "$skip"
            set skip
        else if test "$word" = --
            echo -- --
            return
        else if contains -- $word @with_value@
            set skip yes
        else if not string match -q -- '-?*' $word
            echo $word
        end
    end
end

# Whether the verb is this one, and how many positionals stand before the one that is typed:
# __swarmctl_at N VERB..., where N is a number, `N+` for at least so many, or `any`.
function __swarmctl_at
    set -l words (__swarmctl_words)
    set -l verb $argv[2..]
    set -l length (count $verb)
    test (count $words) -ge $length; and test "$words[1..$length]" = "$verb"; or return 1
    set -l found (math (count $words) - $length)
    switch $argv[1]
        case any
            not contains -- -- $words
        case '*+'
            test $found -ge (string trim -r -c + -- $argv[1]); and not contains -- -- $words
        case '*'
            test $found -eq $argv[1]; and not contains -- -- $words
    end
end

# Whether no verb has been typed yet, or only this noun.
function __swarmctl_first
    test -z "$(__swarmctl_words)"
end
function __swarmctl_noun
    test "$(__swarmctl_words)" = $argv[1]
end

# Whether a command line of its own is typed, behind --.
function __swarmctl_command
    set -l words (__swarmctl_words)
    contains -- -- $words; and contains -- $words[1] @commands@
end

# What there is now, from the daemon that the command line names.
function __swarmctl_ask
    set -l words (commandline -opc)
    set -l where
    set -l at (contains -i -- --socket $words); and set where --socket $words[(math $at + 1)]
    set -l joined (string match -- '--socket=*' $words); and set where $joined[1]
    command $words[1] $where completion --of $argv[1] 2>/dev/null
end

# Several with commas between them: what is typed before the last comma stays.
function __swarmctl_many
    set -l typed (string replace -r '^--[a-z-]+=' '' -- (commandline -ct))
    set -l stem (string match -r '.*,' -- $typed; or echo)
    while read -l line
        echo -- "$stem$line"
    end
end

# The command line that stands after --, as if it stood alone.
function __swarmctl_rest
    set -l words (commandline -opc)
    set -l at (contains -i -- -- $words)
    complete -C (string join ' ' -- (string escape -- $words[(math $at + 1)..]) "$(commandline -ct)")
end

complete -c swarmctl -e
complete -c swarmctl -f
complete -c swarmctl -n __swarmctl_command -xa '(__swarmctl_rest)'

@lines@
"""


def script() -> str:
    """What fish reads."""
    values = [flag for option in GLOBALS if takes_value(option) for flag in option.flags]
    lines = [line for option in GLOBALS for line in _option("not __swarmctl_command", option)]
    lines += ["", *[_word("__swarmctl_first", word, meaning) for word, meaning in first_words().items()]]
    for noun in parse.NOUNS:
        lines += [_word(f"__swarmctl_noun {noun}", word, meaning) for word, meaning in second_words(noun).items()]
    for verb in spoken():
        values += [flag for option in verb.options if takes_value(option) for flag in option.flags]
        lines += ["", *_verb(verb)]
    text = _SCRIPT.replace("@with_value@", " ".join(dict.fromkeys(values)))
    text = text.replace("@commands@", " ".join(verb.name for verb in spoken() if verb.command))
    return text.replace("@lines@", "\n".join(lines))


def _word(condition: str, word: str, meaning: str) -> str:
    return f"complete -c swarmctl -n {_quoted(condition)} -a {_quoted(word)} -d {_quoted(meaning)}"


def _verb(verb: Spoken) -> list[str]:
    lines = [line for option in verb.options for line in _option(f"__swarmctl_at any {verb.name}", option)]
    for number, place in enumerate(verb.positionals):
        last = number == len(verb.positionals) - 1
        where = f"{number}+" if last and verb.repeats else str(number)
        if place:
            lines.append(f"complete -c swarmctl -n '__swarmctl_at {where} {verb.name}'{_arguments(place)}")
    return lines


def _option(condition: str, option: Option) -> list[str]:
    """All spellings of one option in a line."""
    names = [f"-s {flag[1:]}" if flag[1] != "-" else f"-l {flag[2:]}" for flag in option.flags]
    line = f"complete -c swarmctl -n {_quoted(condition)} {' '.join(names)} -d {_quoted(option.meaning)}"
    if not takes_value(option):
        return [line]
    return [line + " -r" + (_arguments(value(option)) or " -f")]


def _arguments(place: Place) -> str:
    """The candidates of a place, as options of ``complete``."""
    many = " | __swarmctl_many" if place.many else ""
    parts = (
        [f"(printf '%s\\n' {' '.join(place.words)}{many})" if many else " ".join(place.words)] if place.words else []
    )
    parts += [f"(__swarmctl_ask {place.ask}{many})"] if place.ask else []
    found = f" -k -a {_quoted(' '.join(parts))}" if parts else ""
    return found + (" -F" if place.files else " -f" if found else "")


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
