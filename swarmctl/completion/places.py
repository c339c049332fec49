"""What can stand where on a command line, read off the verb table.

A positional is known by the word that stands for it in the usage line, the value of an option by its name or by the
kind of its reader. What is not known is completed by nothing, never by file names: the shells would offer those.
"""

from __future__ import annotations

from swarmctl import parse, verbs
from swarmctl.looking import PARTS
from swarmctl.mending import QUEUE_SETTINGS
from swarmctl.options import GLOBALS
from swarmctl.tuning import WHAT
from swarmctl.values import CHOICES, LISTS
from swarmshd.settings import TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from swarmctl.options import Option, Verb

PRIORITIES = CHOICES["priority"]


class Place:
    """What can stand in one place.

    Attributes:
        words: these words.
        ask: and whatever ``completion --of`` says of this kind.
        files: and names of files; of programs, if it is ``commands``.
        many: several of them, with commas between them.
    """

    __slots__ = ("ask", "files", "many", "words")

    def __init__(self, *words: str, ask: str = "", files: str = "", many: bool = False) -> None:
        self.words = words
        self.ask = ask
        self.files = files
        self.many = many

    def __bool__(self) -> bool:
        return bool(self.words or self.ask or self.files)

    def __or__(self, other: Place) -> Place:
        return Place(*self.words, *other.words, ask=self.ask or other.ask, files=self.files or other.files)


NOTHING = Place()

_OF_VERBS = {
    # what a verb takes that the word of its usage line does not say
    ("get", "WHAT"): Place(*PARTS),
    ("tune disk", "WHAT"): Place(*WHAT),
    ("queue set", "NAME=VALUE"): Place(*[f"{name}=" for name in QUEUE_SETTINGS]),
    ("config set", "NAME=VALUE"): Place(*[f"{name}=" for name in TABLE]),
    ("help", "VERB"): Place("exit", "agents"),
    **{(verb, "ID"): Place(ask="claimed") for verb in "heartbeat progress complete fail release hold".split()},
    ("kick", "ID"): Place(ask="buried"),
    **{(verb, "NAME"): Place(*TABLE) for verb in ("config show", "config get", "config unset")},
    **{(verb, "NAME"): Place(ask="locks") for verb in ("lock", "unlock", "locks")},
}
_WORDS = {
    "ID": Place(ask="items"),
    "QUEUE": Place(ask="queues"),
    "AGENT": Place(ask="agents"),
    "TYPE": Place(ask="types"),
    "TEAM": Place(ask="teams"),
    "PRIORITY": Place(*PRIORITIES),
    "RESULT": Place("success", "failed", "blocked"),
    "PATH": Place(files="files"),
    "FILE": Place(files="files"),
    "DIR": Place(files="files"),
}
_FIELDS = {
    # values of options, by their field
    "queue": Place(ask="queues"),
    "agent": Place(ask="agents"),
    "type": Place(ask="types"),
    "team": Place(ask="teams"),
    "id": Place(ask="items"),
    "after": Place(ask="items"),
    "pid": Place("auto"),
    "scheduler": Place("none", "mq-deadline", "kyber", "bfq"),
    "profile": Place("report", "journal"),
}


class Spoken:
    """A verb as it can be typed, and what can follow it.

    Attributes:
        positionals: of the first, the second and so on; what stands last stands in all that follow, if ``repeats``.
        command: whether a command line of its own follows after ``--``.
    """

    def __init__(self, name: str, verb: Verb) -> None:
        self.name = name
        self.meaning = verb.meaning
        self.options = verb.options
        own, dashes, _ = verb.takes.partition("--")
        self.command = bool(dashes)
        self.positionals: list[Place] = []
        self.repeats = False
        several = NOTHING
        for word in own.replace("[", " ").replace("]", " ").split():
            place = _place(verb.name, word.rstrip("…"))
            self.positionals.append(several | place if several else place)
            if word.endswith("…"):
                self.repeats, several = True, place


def _place(verb: str, word: str) -> Place:
    """A word of a usage line; in small letters it stands for itself: ``bash|zsh|fish``."""
    if word.islower():
        return Place(*word.split("|"))
    if (verb, word) == ("help", "VERB"):
        return Place(*first_words()) | _OF_VERBS[verb, word]
    return _OF_VERBS.get((verb, word)) or _WORDS.get(word, NOTHING)


def value(option: Option) -> Place:
    """What can stand as the value of an option."""
    if option.kind == "path":
        return Place(files="files")
    known = Place(*CHOICES[option.kind]) if option.kind in CHOICES else _FIELDS.get(option.field, NOTHING)
    return Place(*known.words, ask=known.ask, files=known.files, many=option.kind in LISTS)


def _names() -> dict[str, Verb]:
    """Every verb and every short form of one, as they are typed; a noun alone is one as well."""
    known = verbs.every()
    return {**known, **{name: known[verb] for name, verb in parse.SHORT.items()}}


def spoken() -> list[Spoken]:
    """Every verb, and every short form of one."""
    return [Spoken(name, verb) for name, verb in _names().items() if name not in parse.NOUNS]


def first_words() -> dict[str, str]:
    """What can stand first, and what it means: verbs, and nouns that are verbs with the word after them."""
    words = {name: verb.meaning for name, verb in _names().items() if " " not in name}
    return words | {noun: ", ".join(second_words(noun)) for noun in parse.NOUNS}


def second_words(noun: str) -> dict[str, str]:
    """What can stand after a noun, and what it means."""
    pairs = [(name.partition(" "), verb.meaning) for name, verb in _names().items()]
    return {second: meaning for (first, _, second), meaning in pairs if first == noun and second}


def takes_value(option: Option) -> bool:
    """Whether a word follows it."""
    return option.kind != "flag"


__all__ = ["GLOBALS", "NOTHING", "Place", "Spoken", "first_words", "second_words", "spoken", "takes_value", "value"]
