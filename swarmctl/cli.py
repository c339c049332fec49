"""One call of ``swarmctl``: from the words typed to the status that the shell sees.

``main`` parses, finds the verb's function, runs it, and turns every way in which it can end into an exit status and at
most one line: a refusal of the daemon, a usage error, a file that cannot be read, an interrupt, a reader that has gone
away. A ``Call`` is what the verb's function gets: what was asked, who asks, how to ask the daemon, and how to answer.

This module and what it imports are loaded by every call, so they import nothing that a bare interpreter has not
loaded already, and little of our own. Answers are gathered and written to the descriptor itself, always as UTF-8.
"""

from __future__ import annotations

import os
import sys

from swarmctl import parse, render, values
from swarmctl.parse import Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, NoReturn

    from swarmctl.connection import Connection, Refused
    from swarmctl.screen import Screen

    Facts = dict[str, Any]
    Command = tuple[str, Facts]

TIMEOUT_MS = 30_000
"""How long a call may take to connect, reconnect and be answered, when ``--timeout`` says nothing."""

FILE_MAX = 1 << 20
"""Most bytes that are read of a file that becomes part of a frame; the daemon's own limits are lower."""

BATCH_COMMANDS, BATCH_BYTES = 1000, 1 << 19
"""Bounds of one ``batch`` frame, well under the daemon's limits of a frame and of commands in it."""

WRITTEN_PAST = 1 << 16
"""Bytes of output after which they are written, without waiting for the end."""


class Failure(Exception):
    """The call cannot go on for a reason of its own, such as a file that cannot be read."""

    def __init__(self, message: str, status: int = 1, code: str = "failed") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class OutputLost(Exception):
    """Standard output cannot be written. ``quiet`` when its reader has simply gone."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write to stdout: {error.strerror}")
        self.quiet = isinstance(error, BrokenPipeError)


class Output:
    """Standard output as bytes of UTF-8, gathered and written in large pieces."""

    __slots__ = ("_bytes", "_parts", "terminal")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._bytes = 0
        self.terminal = os.isatty(1)

    def text(self, text: str) -> None:
        """Add text; lone surrogates cannot be in what the daemon sends."""
        self.data(text.encode("utf-8", "backslashreplace"))

    def row(self, *values: object) -> None:
        """Add a line of tab-separated fields."""
        self.text(render.row(values, terminal=self.terminal))

    def data(self, data: bytes) -> None:
        """Add bytes as they are."""
        self._parts.append(data)
        self._bytes += len(data)
        if self._bytes >= WRITTEN_PAST:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered.

        Raises:
            OutputLost: it cannot be written.
        """
        data = b"".join(self._parts)
        self._parts, self._bytes = [], 0
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(1, view) :]
            except BlockingIOError:  # someone made the terminal or pipe that we share non-blocking
                os.set_blocking(1, True)
            except OSError as error:
                raise OutputLost(error) from None

    def drop(self) -> None:
        """Forget what was gathered."""
        self._parts, self._bytes = [], 0


class Call:
    """One call of a verb: what was asked, and the ways to ask the daemon and to answer."""

    __slots__ = (
        "_agent", "_connection", "_key", "_screen", "environ",
        "given", "json", "line", "out", "quiet", "status", "words",
    )  # fmt: skip

    def __init__(self, line: parse.Line, environ: Mapping[str, str]) -> None:
        self.line = line
        self.given = line.given
        self.words = line.words
        self.environ = environ
        self.json: bool = "json" in line.given
        self.quiet: bool = "quiet" in line.given
        self.out = Output()
        self.status = 0
        self._agent: tuple[str, str] | None = None
        self._connection: Connection | None = None
        self._key: str | None = None
        self._screen: Screen | None = None

    # -- who asks --------------------------------------------------------------------------------------

    @property
    def spoken(self) -> str:
        """The verb as it was typed."""
        return self.line.spoken

    def who(self) -> tuple[str, str]:
        """The agent's id, and where it came from."""
        if self._agent is None:
            from swarmctl import identity

            try:
                self._agent = identity.agent_id(self.given.get("agent"), self.environ)
            except ValueError as wrong:
                raise Usage(str(wrong), self.spoken) from None
        return self._agent

    @property
    def agent(self) -> str:
        """The agent's id."""
        return self.who()[0]

    def key(self, part: object = None) -> str:
        """The key of a change: the caller's, or one minted for this call; ``KEY:part`` where the call makes several.

        So ``--key`` with the key that an error line names repeats a call of many changes as well as one of a single.
        """
        if self._key is None:
            from swarmctl.connection import mint_key

            self._key = self.given.get("key") or mint_key()
        return self._key if part is None else f"{self._key}:{part}"

    def proof(self, item: int | str, token: str | None = None, *, many: bool = False) -> Facts:
        """The arguments that say why this caller may change what is held: its token, else its agent."""
        if token is None:
            token = self.given.get("token")
            if token is not None and many:
                raise Usage("--token is for one item; with several, write ID:TOKEN", self.spoken)
        if token is None and self.environ.get("SWARMSH_ITEM") == str(item) and "SWARMSH_LOCK" not in self.environ:
            token = self.environ.get("SWARMSH_TOKEN")
        return {"token": parse.checked(token, self.spoken)} if token else {"agent": self.agent}

    # -- asking ----------------------------------------------------------------------------------------

    @property
    def connection(self) -> Connection:
        """The connection to the daemon, made at its first use."""
        if self._connection is None:
            from swarmctl.connection import Connection

            self._connection = Connection(self.given.get("socket"), self.given.get("timeout", TIMEOUT_MS) / 1000)
            if not self.quiet and not self.json:
                self._connection.waiting = self.remark
        return self._connection

    def hang_up(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()

    def ask(self, verb: str, arguments: Facts, *, wait_ms: int | None = None, fds: Sequence[int] = ()) -> Facts:
        """The daemon's result.

        Raises:
            Refused: it said no, or nothing.
        """
        return self.connection.call(verb, arguments, wait_ms=wait_ms, fds=fds)

    def ask_all(self, commands: Iterable[Command]) -> Iterator[tuple[Facts | None, Refused | None]]:
        """The result or the refusal of each command, in order; many go in one frame."""
        for some in _frames(commands):
            arguments = {"commands": [list(command) for command in some], "key": self.key()}
            replies = self.ask("batch", arguments)["replies"]
            for code, facts in replies:
                yield (facts, None) if code == 0 else (None, refused_as(code, facts))

    # -- answering -------------------------------------------------------------------------------------

    @property
    def for_people(self) -> bool:
        """Whether the answer goes to somebody who looks at a terminal."""
        return self.out.terminal and not self.json and not self.quiet

    @property
    def screen(self) -> Screen:
        """What that somebody sees: how wide it is, and whether it has colours."""
        if self._screen is None:
            from swarmctl.screen import Screen

            self._screen = Screen.of(self.environ, terminal=self.out.terminal)
        return self._screen

    def lines(self, lines: Iterable[str], nothing: str = "") -> None:
        """Print lines that were made for the screen; where there are none, ``nothing``, which says so."""
        text = "".join([f"{line}\n" for line in lines])
        self.out.text(text or (f"{nothing}\n" if nothing else ""))

    def emit(self, facts: Mapping[str, Any]) -> None:
        """Print one JSON object."""
        self.out.text(render.json_line(render.for_json(facts)))

    def tell(self, facts: Mapping[str, Any], name: object, fields: Iterable[object]) -> None:
        """Print one of what was asked for: an object, its name alone, or a line of fields."""
        if self.json:
            self.emit(facts)
        elif self.quiet:
            self.out.row(name)
        else:
            self.out.row(*fields)

    def remark(self, text: str) -> None:
        """Say something on stderr that is no refusal."""
        self.out.flush()
        complain(self.spoken, text)

    def refuse(self, refused: Refused, about: object = None) -> None:
        """Report a refusal of one of several; the worst status becomes the call's."""
        self.status = max(self.status, refused.exit)
        if self.json:
            self.out.text(render.json_line(_refusal_facts(self, refused, about), ok=False))
            return
        self.out.flush()
        complain(self.spoken, _sentence(self, refused), about)

    def each(
        self,
        verb: str,
        items: Sequence[tuple[int | str, str | None]],
        arguments: Callable[[int | str, str | None], Facts],
        line: Callable[[Facts], str | None],
    ) -> int:
        """Ask ``verb`` for each item and print a line (or, with --json, an object) for each that succeeds."""
        if len(items) == 1:
            results: Iterable[tuple[Facts | None, Refused | None]] = [(self.ask(verb, arguments(*items[0])), None)]
        else:
            results = self.ask_all((verb, arguments(*item)) for item in items)
        for (item, _), (result, refused) in zip(items, results, strict=True):
            if refused is not None:
                self.refuse(refused, item)
                continue
            assert result is not None
            if self.json:
                self.emit(result)
            elif self.quiet:
                self.out.row(result.get("id", item))
            elif (text := line(result)) is not None:
                self.out.text(text + "\n")
        return self.status

    def items(self) -> list[tuple[int | str, str | None]]:
        """The items that the positionals name, ``-`` being those on standard input; each with its token, if given."""
        words = (one for word in self.words for one in (stdin_ids(self.spoken) if word == "-" else (word,)))
        return [parse.positional("item_and_token", word, "ID", self.spoken) for word in words]

    def file(self, field: str) -> bytes | None:
        """The bytes of the file (``-``: standard input) that option ``field`` names; None without the option."""
        path: str | None = self.given.get(field)
        return None if path is None else read_file(path)


def read_file(path: str) -> bytes:
    """The bytes of a file that goes into a frame.

    Raises:
        Failure: it cannot be read, or is longer than any frame.
    """
    try:
        if path == "-":
            data = b"".join(iter(lambda: os.read(0, 1 << 16), b"")) if sys.stdin is not None else b""
        else:
            with open(path, "rb") as file:
                data = file.read(FILE_MAX + 1)
    except OSError as error:
        raise Failure(f"cannot read {parse.show(path)}: {error.strerror}") from None
    if len(data) > FILE_MAX:
        raise Failure(f"{parse.show(path)} is longer than {FILE_MAX} bytes", 2, "too_large")
    return data


def stdin_ids(spoken: str) -> Iterator[str]:
    """The ids on standard input: the first field of each line that has tabs, else every word of it."""
    if sys.stdin is None:
        return
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            text = line.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise Usage(f"line {number} of stdin is not UTF-8 text", spoken) from None
        yield from (text.split("\t", 1)[0],) if "\t" in text else text.split()


def _frames(commands: Iterable[Command]) -> Iterator[list[Command]]:
    """Cut ``commands`` into lists that fit a frame each."""
    some: list[Command] = []
    size = 0
    for command in commands:
        bulk = 64 + sum(len(value) * 4 if type(value) is str else 16 for value in command[1].values())
        bulk += sum(len(value) for value in command[1].values() if type(value) is bytes)
        if some and (len(some) >= BATCH_COMMANDS or size + bulk > BATCH_BYTES):
            yield some
            some, size = [], 0
        some.append(command)
        size += bulk
    if some:
        yield some


def refused_as(code: str, facts: Facts) -> Refused:
    """The refusal that a batch or heartbeat reports as a code and its facts."""
    from swarmctl.connection import refusal

    return refusal(code, facts)


# -- saying no -----------------------------------------------------------------------------------------


def complain(spoken: str, message: str, about: object = None) -> None:
    """One line on stderr: program, verb, item, what is wrong. Nobody is helped by a failure to print it."""
    parts = ["swarmctl", spoken, *([] if about is None else [str(about)])]
    head = " ".join(parts[1:])
    text = f"swarmctl: {head}: {message}\n" if head else f"swarmctl: {message}\n"
    try:
        os.write(2, render.harmless(text[:-1]).encode("utf-8", "backslashreplace") + b"\n")
    except OSError:
        pass


def _sentence(call: Call, refused: Refused) -> str:
    from swarmctl.refusals import sentence

    return sentence(call, refused)


def _refusal_facts(call: Call, refused: Refused, about: object) -> Facts:
    from swarmctl.refusals import facts

    return facts(call, refused, about)


def _about(call: Call) -> object:
    """The one item that a call was about, for its error line."""
    words = [word for word in call.words if word != "-"]
    verb = call.line.verb
    takes = verb.takes.lstrip("[") if verb else ""
    named = takes.startswith(("ID", "QUEUE", "AGENT")) or (verb is not None and verb.wire in ("lock", "unlock"))
    if not words or not named:
        return None
    try:
        return values.item_and_token(words[0])[0] if takes.startswith("ID") else words[0]
    except ValueError:
        return None


def _usage(wrong: Usage, *, as_json: bool) -> int:
    status = 64 if wrong.verb == "tune disk" else 2  # where 2 says that changes are pending
    if as_json:
        facts = {"code": wrong.code, "exit": status, "retryable": False, "message": str(wrong)}
        out = Output()
        out.text(render.json_line(facts, ok=False))
        out.flush()
    else:
        complain(wrong.verb, str(wrong))
    return status


def _failed(call: Call, failure: Failure) -> int:
    if call.json:
        facts = {"code": failure.code, "exit": failure.status, "retryable": False, "message": str(failure)}
        call.out.text(render.json_line(facts, ok=False))
        call.out.flush()
    else:
        complain(call.spoken, str(failure), _about(call))
    return failure.status


# -- the call ------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Carry out one command line (the process's own, if none is given) and return its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        try:
            line = parse.parse(words)
        except Usage as wrong:
            return _usage(wrong, as_json="--json" in words)
        if line.verb is None or "help" in line.given or "version" in line.given:
            from swarmctl import help as help_pages

            return help_pages.page(line)
        return _run(Call(line, environ))
    except OutputLost as lost:
        if not lost.quiet:
            complain("", str(lost))
        return 1
    except KeyboardInterrupt:
        return 130


def _run(call: Call) -> int:
    assert call.line.verb is not None
    module, _, function = call.line.verb.run.partition(":")
    run = getattr(__import__(module, fromlist=(function,)), function)
    from swarmctl.connection import Refused

    try:
        status: int = run(call)
    except Refused as refused:
        call.refuse(refused, _about(call))
        status = call.status
    except Usage as wrong:
        call.out.flush()
        return _usage(wrong, as_json=call.json)
    except Failure as failure:
        call.out.flush()
        return _failed(call, failure)
    finally:
        call.hang_up()
    call.out.flush()
    return status


def start() -> NoReturn:
    """Run as a program of its own: ``main``, then leave without the interpreter's clearing up, which costs 2 ms."""
    for stream, number in ((sys.stdin, 0), (sys.stdout, 1), (sys.stderr, 2)):
        if stream is None:  # closed by the caller: else the daemon's socket could get the number
            os.open(os.devnull, os.O_RDONLY if number == 1 else os.O_RDWR)
    try:
        status = main()
    except KeyboardInterrupt:
        status = 130
    if sys.stdout is not None:
        sys.stdout.flush()
    os._exit(status)
