"""What people set: the configuration file, the environment and the command line, read into ``Settings``.

A value is taken from the first place that has one:

1. what was chosen for the running daemon, by ``config set``;
2. ``--set NAME=VALUE`` on the command line, the last if there are several;
3. ``SWARMSH_NAME`` in the environment;
4. the bare ``NAME`` in the environment, only the names of the tuning guide: words such as ``QUEUES`` belong to
   other programs;
5. the file: flat TOML, the names in lower case;
6. the default.

Whatever cannot be used is a ``ConfigError`` that says where it stands, what is wrong and what to write, except
under a bare name, which may have been meant for another program: that is skipped with a warning.

``Configuration`` keeps what was read at the start, and proposes other settings from it: a change is read and
checked as a whole, against all places, before anything takes it.
"""

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from swarmshd.settings import TABLE, Settings, Value, brief, nearest

DEFAULT_FILE = "/etc/swarmsh/swarmshd.toml"
"""The file that is read, if it is there, when none is named."""

FILE_MAX = 1 << 20
"""Bytes of a configuration file."""

PREFIX = "SWARMSH_"

NOT_SETTINGS = frozenset("AGENT ATTEMPT BOOT_ID CHECKPOINT FENCE ITEM KEY QUEUE SOCKET TOKEN TYPE".split())
"""What ``swarmctl`` and ``liveness`` read from the environment under the same prefix, or ``swarmctl`` sets in it."""

CHOSEN = "set"
"""The source of what was chosen for the running daemon."""

FRAME_OVERHEAD = 16 << 10
"""Bytes that a frame needs beside the large fields: names, notes, numbers."""


class ConfigError(Exception):
    """A configuration that cannot be used. Its text is one line: where, what is wrong, what to do."""


class Excluded(ConfigError):
    """What was asked for is right by itself, and does not go with what else is so."""


class Given(NamedTuple):
    """A value that somebody set, in the program's unit, and where it stands."""

    value: Value
    source: str


def read_file(path: str) -> dict[str, Given]:
    """The settings that the file ``path`` gives, by name. Raises ConfigError, also if it cannot be read."""
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; name another file with --config") from error
    if len(data) > FILE_MAX:
        raise ConfigError(f"{path}: larger than {FILE_MAX >> 10} KiB; name the configuration file with --config")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax(path, text, str(error)) from error
    return dict(_from_document(path, text, document))


def read_environment(environ: Mapping[str, str]) -> tuple[dict[str, Given], list[str]]:
    """The settings that the environment gives, by name, and the warnings about what was skipped.

    Raises:
        ConfigError: the value of a ``SWARMSH_NAME`` is bad.
    """
    given: dict[str, Given] = {}
    warnings: list[str] = []
    for row in TABLE.values():
        prefixed = PREFIX + row.name
        try:
            if prefixed in environ:
                given[row.name] = Given(row.parse(environ[prefixed]), prefixed)
            elif row.guide and row.name in environ:
                given[row.name] = Given(row.parse(environ[row.name]), row.name)
        except ValueError as error:
            if prefixed in environ:
                raise ConfigError(f"{prefixed} in the environment: {error}") from error
            warnings.append(f"{row.name} in the environment: {error}; ignoring it")
    for variable in environ:
        name = variable.removeprefix(PREFIX)
        if name != variable and name not in TABLE and name not in NOT_SETTINGS:
            warnings.append(f"{brief(variable)[1:-1]} in the environment: {_unknown(name, PREFIX)}; ignoring it")
    return given, warnings


def read_option(text: str) -> tuple[str, Given]:
    """The name and value of one ``--set NAME=VALUE``. Raises ConfigError."""
    name, equals, value = text.partition("=")
    name = name.strip().upper().replace("-", "_")
    if not equals:
        raise ConfigError(f"--set {brief(text)}: no value; write --set NAME=VALUE")
    if name not in TABLE:
        raise ConfigError(f"--set {brief(text)}: {_unknown(name)}")
    try:
        return name, Given(TABLE[name].parse(value), "--set")
    except ValueError as error:
        raise ConfigError(f"--set {name}: {error}") from error


def resolve(file: str | None, environ: Mapping[str, str], options: Sequence[str]) -> Settings:
    """The settings that a daemon starts with.

    Args:
        file: path of the configuration file; None if there is none.
        environ: the environment.
        options: the ``NAME=VALUE`` of each ``--set``, in order.

    Raises:
        ConfigError: something cannot be used.
    """
    return _combine(read_file(file) if file is not None else {}, environ, options, {})


def _combine(
    in_file: Mapping[str, Given], environ: Mapping[str, str], options: Sequence[str], chosen: Mapping[str, Given]
) -> Settings:
    in_environment, warnings = read_environment(environ)
    on_command_line = dict(read_option(text) for text in options)
    while True:
        given = {**in_file, **in_environment, **on_command_line, **chosen}
        settings = Settings(
            {name: value for name, (value, _) in given.items()},
            {name: source for name, (_, source) in given.items()},
            warnings,
        )
        names, conflict = _conflict(settings)
        if not conflict:
            return settings
        bare = [name for name in names if settings.source(name) == name]
        if not bare:
            raise _excluded(settings, names, conflict)
        warnings.append(f"{bare[0]} in the environment: {conflict}; ignoring it")
        del in_environment[bare[0]]


def _excluded(settings: Settings, names: Sequence[str], conflict: str) -> Excluded:
    places = [settings.source(name) for name in names if settings.source(name) not in ("default", CHOSEN)]
    return Excluded(": ".join([*places[:1], conflict]))


class Proposal(NamedTuple):
    """What a change leads to, read and checked, and taken by nobody yet.

    Attributes:
        settings: what would be in force.
        coming: what a start would have; it differs from ``settings`` in what holds from a start only, and in what
            does not fit the old values of that.
        chosen: what would be chosen for the running daemon, by name.
        in_file: what the file gives.
    """

    settings: Settings
    coming: Settings
    chosen: Mapping[str, Given]
    in_file: Mapping[str, Given]


class Configuration:
    """The settings that are in force, what they were made from, and what else may be made from that.

    Args:
        file: path of the configuration file; None for the default one, if it is there.
        environ: the environment, which stays as it is at the start.
        options: the ``NAME=VALUE`` of each ``--set``, in order.

    Raises:
        ConfigError: something cannot be used.
    """

    def __init__(self, file: str | None, environ: Mapping[str, str], options: Sequence[str]) -> None:
        self.file = os.path.abspath(file or DEFAULT_FILE)
        """What is read, if it is there."""
        self._required = file is not None
        self._environ = dict(environ)
        self._options = list(options)
        in_file = self._read()
        settings = _combine(in_file, self._environ, self._options, {})
        self._now = Proposal(settings, settings, {}, in_file)

    @property
    def settings(self) -> Settings:
        """Those in force."""
        return self._now.settings

    @property
    def coming(self) -> Settings:
        """Those that a start would have, as far as the file has been read."""
        return self._now.coming

    def adopt(self, proposal: Proposal) -> None:
        """The proposal is in force."""
        self._now = proposal

    def choosing(self, values: Mapping[str, str]) -> Proposal:
        """With these values, as people write them, until they are taken back or the daemon ends.

        Raises:
            ConfigError: a name or value cannot be used, or it holds from a start only.
        """
        given = {name: Given(_value(name, text), CHOSEN) for name, text in values.items()}
        for name in given:
            if not TABLE[name].live:
                raise Excluded(f"{name} is read at a start only: add --persist, and restart the daemon")
        return self._proposal(self._now.in_file, {**self._now.chosen, **given})

    def writing(self, values: Mapping[str, str]) -> dict[str, str]:
        """The line of the file for each of these values, if the file may have them and they would count there.

        Raises:
            ConfigError: a name or value cannot be used, or another place goes before the file.
        """
        given = {name: Given(_value(name, text), self.file) for name, text in values.items()}
        before = {**read_environment(self._environ)[0], **dict(read_option(text) for text in self._options)}
        for name in given:
            if name in before:
                raise Excluded(f"{name} comes from {before[name].source}, which goes before the file: change it there")
        others = {name: each for name, each in self._now.chosen.items() if name not in given}
        _combine({**self._read(), **given}, self._environ, self._options, others)
        return {name: f"{TABLE[name].key} = {TABLE[name].write(value)}" for name, (value, _) in given.items()}

    def taking_back(self, names: Iterable[str]) -> Proposal:
        """Without what was chosen for these.

        Raises:
            ConfigError: nothing was chosen for one of them, or what is left excludes each other.
        """
        chosen = dict(self._now.chosen)
        for name in names:
            if name not in chosen:
                raise ConfigError(
                    f"{name} was not set while the daemon ran; it comes from {self.settings.source(name)}"
                )
            del chosen[name]
        return self._proposal(self._now.in_file, chosen)

    def reading_again(self, taken_back: Iterable[str] = ()) -> Proposal:
        """With what the file gives now, and without what was chosen for some.

        Raises:
            ConfigError: something in the file cannot be used.
        """
        chosen = {name: each for name, each in self._now.chosen.items() if name not in set(taken_back)}
        return self._proposal(self._read(), chosen)

    def _read(self) -> dict[str, Given]:
        return read_file(self.file) if self._required or os.path.exists(self.file) else {}

    def _proposal(self, in_file: Mapping[str, Given], chosen: Mapping[str, Given]) -> Proposal:
        coming = _combine(in_file, self._environ, self._options, chosen)
        running = self._now.settings
        kept = {name for name, row in TABLE.items() if not row.live}
        while True:
            origin = {name: running if name in kept else coming for name in TABLE}
            settings = Settings(
                {name: found.value(name) for name, found in origin.items()},
                {name: found.sources[name] for name, found in origin.items() if name in found.sources},
                coming.warnings,
            )
            names, conflict = _conflict(settings)
            if not conflict:
                return Proposal(settings, coming, chosen, in_file)
            if any(name in chosen and name not in kept for name in names):
                raise Excluded(conflict)
            kept.update(names)  # they fit what waits for a restart, and wait with it


def known(name: str) -> str:
    """The name of the setting that is meant by ``name``. Raises ConfigError if there is none."""
    found = name.strip().upper().replace("-", "_").removeprefix(PREFIX)
    if found not in TABLE:
        like = nearest(found)
        advice = f"did you mean {like}?" if like else "`swarmctl config show` lists them"
        raise ConfigError(f"no setting is called {brief(name)}; {advice}")
    return found


def _value(name: str, text: str) -> Value:
    try:
        return TABLE[name].parse(text)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error


def _conflict(settings: Settings) -> tuple[Sequence[str], str]:
    """Names of settings whose values exclude each other, and how; empty text if none do."""

    def shown(name: str) -> str:
        return f"{name} ({TABLE[name].show(settings.value(name))})"

    for smaller, larger in (
        ("LEASE", "LEASE_MAX"),
        ("BACKOFF_BASE", "BACKOFF_MAX"),
        ("MEMORY_WARNING_THRESHOLD_PCT", "MEMORY_CRITICAL_THRESHOLD_PCT"),
    ):
        if getattr(settings, smaller.lower()) > getattr(settings, larger.lower()):
            return (smaller, larger), f"{shown(smaller)} is more than {shown(larger)}; change one of them"
    in_claims = settings.payload_max + settings.checkpoint_max + settings.description_max
    if in_claims + FRAME_OVERHEAD > settings.frame_max:
        names = ("FRAME_MAX", "PAYLOAD_MAX", "CHECKPOINT_MAX", "DESCRIPTION_MAX")
        parts = ", ".join(shown(name) for name in names[1:])
        least = -(-(in_claims + FRAME_OVERHEAD) // 1024)
        return names, f"{shown('FRAME_MAX')} has no room for {parts}; at least {least}K is needed"
    if settings.output_tail + FRAME_OVERHEAD > settings.frame_max:
        return (
            "FRAME_MAX",
            "OUTPUT_TAIL",
        ), f"{shown('FRAME_MAX')} has no room for {shown('OUTPUT_TAIL')}; change one of them"
    return (), ""


def _from_document(path: str, text: str, document: Mapping[str, object]) -> Iterator[tuple[str, Given]]:
    for key, raw in document.items():
        place = f"{path}:{_line(text, key)}"
        if isinstance(raw, dict):
            raise ConfigError(f"{place}: {brief(key)} is a table; write each setting as a line of its own: key = value")
        row = TABLE.get(key.upper())
        if row is None or key != row.key:
            raise ConfigError(f"{place}: {_unknown(key, lower=True)}")
        try:
            yield row.name, Given(row.convert(raw), place)
        except ValueError as error:
            raise ConfigError(f"{place}: {key}: {error}") from error


def _unknown(name: str, prefix: str = "", *, lower: bool = False) -> str:
    """What is wrong with a name that is not in the table, and what to do."""
    like = nearest(name)
    if not like:
        return f"no setting is called {brief(name)}; remove it"
    return f"no setting is called {brief(name)}; did you mean {prefix}{like.lower() if lower else like}?"


def _line(text: str, key: str) -> int:
    """The number of the line where ``key``, a key or a table of a sound TOML text, is first given."""
    for number, line in enumerate(text.split("\n"), 1):
        written = line.strip().lstrip("[").split("=")[0].split("]")[0].split(".")[0]
        if written.strip().strip("\"'") == key:
            return number
    return 1  # the key is written with escapes


def _syntax(path: str, text: str, error: str) -> ConfigError:
    """What to raise for tomllib's ``error``, whose text ends in the place."""
    what, _, place = error.rpartition(" (at ")
    number = place.removeprefix("line ").partition(",")[0]
    line = int(number) if number.isdigit() else text.count("\n", 0, len(text.rstrip())) + 1
    if what.startswith("Cannot overwrite"):
        return ConfigError(f"{path}:{line}: this key was given before; keep one of the lines")
    if what.startswith("Cannot declare"):
        name = ".".join(part.strip(" '\"") for part in what.partition("(")[2].partition(")")[0].split(",") if part)
        return ConfigError(f"{path}:{line}: the table {name} was given before, and settings are in none: remove it")
    written = text.split("\n")[line - 1].strip()
    return ConfigError(f"{path}:{line}: not TOML: {what}; write {brief(written)} as: key = value")
