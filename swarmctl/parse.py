"""The command line -> a verb, its options and its positionals.

One parser for every verb, driven by the table in ``verbs``. The rules: global options stand before or after the verb;
an option's word follows it or an equals sign; option names are never abbreviated; ``--`` ends the options; ``-`` alone
is a positional (standard input). A verb may have other names, which stand here. What cannot be read is a ``Usage``
whose one line says what was wrong and what would be right.
"""

from __future__ import annotations

from swarmctl import options, values, verbs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


SHORT = {
    # short form: the verb that it is
    "queue pause": "pause",
    "queue resume": "resume",
    "queue": "queue ls",
    "queue list": "queue ls",
    "queues": "queue ls",
    "queue-stats": "queue ls",
    "snapshot": "journal snapshot",
    "index rebuild": "journal reindex",
    "drain": "queue close",
    "clear": "queue clear",
    "agent register": "register",
    "agent": "agent ls",
    "agent list": "agent ls",
    "agents": "agent ls",
    "config": "config show",
    "config ls": "config show",
    "config list": "config show",
    "reload": "config reload",
    "journal": "journal list",
    "journal ls": "journal list",
    "doctor": "tune check",
    "quiet": "agent quiet",
    "wake": "agent wake",
    "evict": "agent evict",
}
"""Other ways to say a verb: each with the same positionals and options."""

HABITS = {
    "put": "submit",
    "add": "submit",
    "reserve": "claim",
    "touch": "heartbeat",
    "ack": "complete",
    "done": "complete",
    "delete": "complete",
    "nack": "fail",
    "retry": "kick",
    "rm": "cancel",
    "kill": "cancel",
    "ps": "list",
    "ls": "list",
    "describe": "show",
    "follow": "watch",
}
"""Words that people bring from other queues; accepted, and shown only by ``help --all``."""

LOG = ("get", "output")
"""``log ID`` and ``output ID`` are ``get ID output``."""

OUTPUTS = ("log", "output")

TUNE = ("tune", "disk")
"""``tune plan`` is ``tune disk plan``, and so on."""

QUEUE_STATS = "queue-stats"
"""It is ``queue ls --stats``."""

NOUNS = ("queue", "agent", "config", "journal", "index", "tune")
"""Words that are verbs together with the next one."""


class Usage(Exception):
    """A command line that means nothing. Its text is one line; ``verb`` is what it was meant for, if that is known."""

    def __init__(self, message: str, verb: str = "", code: str = "bad_request") -> None:
        super().__init__(message)
        self.verb = verb
        self.code = code


class Line:
    """What a command line says: the verb, its options by field, its positionals, and what stood after ``--``."""

    __slots__ = ("given", "rest", "spoken", "verb", "words")

    def __init__(self, verb: options.Verb | None, spoken: str) -> None:
        self.verb = verb
        self.spoken = spoken
        self.given: dict[str, Any] = {}
        self.words: list[str] = []
        self.rest: list[str] | None = None


def parse(arguments: Sequence[str]) -> Line:
    """The line that ``arguments`` (without the program's name) make. ``verb`` is None where none was named.

    Raises:
        Usage: a word, option or value that is not understood, or too few or too many positionals.
    """
    line = Line(None, "")
    table = _TABLE_OF_GLOBALS
    at, end = 0, len(arguments)
    while at < end:
        word = arguments[at]
        at += 1
        if word == "--":
            line.rest = list(arguments[at:])
            break
        if len(word) > 1 and word[0] == "-":
            at = _option(line, table, word, arguments, at)
        elif line.verb is None:
            line.verb, line.spoken, at = _verb(word, arguments, at)
            table = _TABLE_OF_GLOBALS | {flag: option for option in line.verb.options for flag in option.flags}
        else:
            line.words.append(checked(word, line.spoken))
    if line.spoken in OUTPUTS:
        line.words.append(LOG[1])
    elif line.spoken == QUEUE_STATS:
        line.given["stats"] = True
    if line.verb is not None and "help" not in line.given:
        _positionals(line, line.verb)
    return line


_TABLE_OF_GLOBALS = {flag: option for option in options.GLOBALS for flag in option.flags}


def _verb(word: str, arguments: Sequence[str], at: int) -> tuple[options.Verb, str, int]:
    """The verb that begins with ``word``, as it was spoken, and the index of the first argument after it."""
    spoken = checked(word, "")
    if word == TUNE[0] and at < len(arguments):
        from swarmctl.tuning import WHAT

        if arguments[at] in WHAT:  # it stays, as the first word of `tune disk`
            verb = verbs.find(" ".join(TUNE))
            assert verb is not None
            return verb, verb.name, at
    if word in NOUNS and at < len(arguments) and arguments[at][:1] != "-":
        spoken = f"{word} {checked(arguments[at], word)}"
        at += 1
    name = SHORT.get(spoken) or HABITS.get(spoken) or spoken
    if spoken in OUTPUTS:
        name = LOG[0]
    verb = verbs.find(name)
    if verb is None:
        from swarmctl.help import nearest_verb

        raise Usage(f"there is no verb {show(spoken)}{nearest_verb(spoken)}", code="unknown_verb")
    return verb, spoken, at


def _option(line: Line, table: dict[str, options.Option], word: str, arguments: Sequence[str], at: int) -> int:
    """Read one option and, if it takes one, its word; returns the index of the next argument."""
    flag, equals, attached = word.partition("=")
    option = table.get(flag)
    if option is None and word[1] != "-":  # -pVALUE
        flag, attached, equals = word[:2], word[2:], "="
        option = table.get(flag)
        if option is not None and option.kind == "flag":
            option = None
    if option is None:
        from swarmctl.help import nearest_option

        shown = word.partition("=")[0] if word[1] == "-" else word
        raise Usage(f"there is no option {show(shown)}{nearest_option(shown, line.verb, table)}", line.spoken)
    if option.kind == "flag":
        if equals:
            raise Usage(f"{flag} takes no value", line.spoken)
        line.given[option.field] = True
        return at
    if not equals:
        if at >= len(arguments):
            raise Usage(f"{flag} wants a value ({option.meta})", line.spoken)
        attached = arguments[at]
        at += 1
    if option.kind != "path":
        checked(attached, line.spoken)
    value = read(option, attached, flag, line.spoken)
    if option.kind in values.LISTS and option.field in line.given:
        line.given[option.field] += value
    else:
        line.given[option.field] = value
    return at


def read(option: options.Option, word: str, where: str, spoken: str) -> Any:
    """The value of ``word`` as ``option`` reads it."""
    try:
        return values.READERS[option.kind](word)
    except ValueError as wrong:
        raise Usage(f"{where}: {show(word)} {wrong}", spoken) from None


def positional(kind: str, word: str, called: str, spoken: str) -> Any:
    """The value of the positional ``word``, which the usage line calls ``called``."""
    try:
        return values.READERS[kind](word)
    except ValueError as wrong:
        raise Usage(f"{called}: {show(word)} {wrong}", spoken) from None


def checked(word: str, spoken: str) -> str:
    """``word``, if it is text; arguments that are not UTF-8 arrive with lone surrogates in them."""
    if not word.isascii():
        try:
            word.encode()
        except UnicodeEncodeError:
            raise Usage(f"{show(word)} is not UTF-8 text", spoken) from None
    return word


def show(word: str) -> str:
    """``word`` quoted for an error line, cut to a length that leaves room for the reason."""
    plain = word.isascii() or word.isprintable()
    shown = repr(word) if plain else ascii(word).replace("\\udc", "\\x")  # a byte that is no text is one
    return shown if len(shown) <= 60 else f"{shown[:57]}…{shown[0]}"


def _positionals(line: Line, verb: options.Verb) -> None:
    takes_command = "--" in verb.takes
    if line.rest is not None and not takes_command:
        line.words += [checked(word, line.spoken) for word in line.rest]
        line.rest = None
    least, most = verb.bounds()
    given = len(line.words)
    if takes_command and given > most >= 0:
        raise Usage(f"COMMAND stands after --: swarmctl {verb.name} {verb.takes}", line.spoken)
    if takes_command and not line.rest:
        raise Usage(f"no COMMAND: swarmctl {verb.name} {verb.takes}", line.spoken)
    if given < least or (most >= 0 and given > most):
        if most == 0:
            wrong = f"{show(line.words[0])} is not understood: it takes options only"
        else:
            wrong = "too few words" if given < least else f"too many words, from {show(line.words[most])} on"
        raise Usage(f"{wrong}: swarmctl {line.spoken} {verb.takes}".rstrip(), line.spoken)
