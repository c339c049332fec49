"""The program ``swarmshd``: arguments, configuration, signals, one nursery, and the order of start and stop.

Start: settings, state directory, its lock, recovery, socket, tasks, and READY last. Stop on SIGTERM or SIGINT:
no new changes, what has come is answered, the journal is sealed, the socket goes, the lock last. A failed
write or sync of the journal ends the program with status 74; what needs a person (configuration, versions, a
damaged journal) ends it with 78. A start that needs a person, also one whose disk fails, has every request refused
where a service manager holds the socket (`refusing`).
"""

import argparse
import faulthandler
import gc
import logging
import os
import pwd
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import trio

from swarmshd import __version__, journal, systemd
from swarmshd.carrier import Carrier
from swarmshd.commands import Refusal
from swarmshd.configuration import DEFAULT_FILE, ConfigError, Configuration, known
from swarmshd.control import Control, set_level
from swarmshd.engine import Engine, Started, start
from swarmshd.journal.errors import NO_ROOM, UNREADABLE, mend, said
from swarmshd.keeper import Keeper
from swarmshd.liveness import WATCHES_MAX, NotWatchable, Watches, boot_id
from swarmshd.memory import Memory, rest
from swarmshd.protocol import counted
from swarmshd.refusing import Refusing
from swarmshd.salvage import backup
from swarmshd.salvage.founding import NotEmpty
from swarmshd.server import Access, Clock, Server, descriptor_budget, listen
from swarmshd.server.clock import wall
from swarmshd.settings import Settings, defaults, describe
from swarmshd.whereabouts import Nowhere, socket_path, state_directory

log = logging.getLogger("swarmshd")

EX_CONFLICT, EX_IOERR, EX_TEMPFAIL, EX_CONFIG = 5, 74, 75, 78


SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


RESTART = "systemctl restart swarmshd"


class Quit(Exception):
    """The program cannot go on; its text is the one line that the user gets.

    Where that needs a person, ``code`` and ``follow`` are for the refusals that clients get: what is wrong, and the
    command to go on with. All with status 78 does, and a disk that fails at a start: see ``person``.
    """

    def __init__(
        self, status: int, message: str, code: str = "config", follow: str = RESTART, *, person: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.follow = follow
        self.person = person or status == EX_CONFIG


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="swarmshd", description="Share out work among swarms of agents on one host.", allow_abbrev=False
    )
    parser.add_argument(
        "--config", metavar="FILE", help=f"configuration file (default: {DEFAULT_FILE}, if it is there)"
    )
    parser.add_argument("--state-dir", metavar="DIR", help="where the journal lives")
    parser.add_argument("--socket", metavar="PATH", help="where to listen")
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="set one setting; repeatable")
    parser.add_argument(
        "--restore", metavar="FILE", help="make the state directory, which is empty, of a backup (-: stdin), and end"
    )
    parser.add_argument("--log-level", metavar="LEVEL", help="trace, debug, info, warning or error")
    parser.add_argument("--version", action="version", version=f"swarmshd {__version__}")
    return parser.parse_args(argv)


def _configuration(arguments: argparse.Namespace) -> Configuration:
    options = list(arguments.set)
    if arguments.log_level:
        options.append(f"LOG_LEVEL={arguments.log_level}")
    try:
        return Configuration(arguments.config, os.environ, options)
    except ConfigError as error:
        raise Quit(EX_CONFIG, str(error)) from None


def _directory(arguments: argparse.Namespace) -> Path:
    try:
        return state_directory(arguments.state_dir)
    except Nowhere as error:
        raise Quit(EX_CONFIG, str(error)) from None


def _lock(directory: Path, settings: Settings) -> journal.StateLock:
    lock = journal.StateLock(directory)
    try:
        _check_owner(directory)
        lock.acquire(
            settings.flock_timeout / 1000,
            settings.flock_retries,
            settings.flock_backoff_ms / 1000,
            settings.lock_retry_multiplier,
            settings.adaptive_locking,
        )
    except journal.Locked as held:
        raise Quit(EX_TEMPFAIL, str(held)) from None
    except OSError as error:
        raise _cannot(directory, error) from None
    return lock


def _check_owner(directory: Path) -> None:
    """Root must not leave files of its own in another user's state directory."""
    if os.getuid() == 0 and directory.exists():
        owner = directory.stat().st_uid
        if owner != 0:
            try:
                name = pwd.getpwuid(owner).pw_name
            except KeyError:
                name = f"#{owner}"
            raise Quit(EX_CONFIG, f"state directory {directory} belongs to {name}; run sudo -u {name} swarmshd")


def _cannot(directory: Path, error: OSError) -> Quit:
    """Of a disk that is full the service manager may try again; what else is wrong is for a person."""
    where = error.filename if isinstance(error.filename, str) else str(directory)
    text = f"state directory {directory}: {where}: {said(error)}; "
    if error.errno in NO_ROOM:
        return Quit(EX_IOERR, f"{text}free some space there, then start again")
    if error.errno in UNREADABLE:
        repair = mend(directory)
        then = f"mend the disk, then start again; or run `{repair}`, which takes over what can be read"
        return Quit(EX_IOERR, text + then, "journal_corrupt", repair, person=True)
    return Quit(EX_CONFIG, f"{text}make it writable, or give another with --state-dir")


def _recover(directory: Path, settings: Settings, watches: Watches, notifier: systemd.Notifier) -> Started:
    def progress(done: int, size: int) -> None:
        notifier.busy(f"reading the journal: {min(done * 100 // size, 99)} %")

    try:
        return start(directory, settings, wall(), boot_id(), watches.adopt, progress)
    except journal.Corrupt as error:
        raise Quit(EX_CONFIG, str(error), "journal_corrupt", error.mend) from None
    except journal.VersionMismatch as error:
        raise Quit(EX_CONFIG, str(error), "version", "swarmshd --version") from None
    except journal.Full as error:
        raise Quit(EX_IOERR, str(error)) from None
    except journal.JournalFailed as error:
        raise Quit(EX_IOERR, str(error), "journal_corrupt", person=error.errno not in NO_ROOM) from None
    except OSError as error:
        raise _cannot(directory, error) from None


def _tell(started: Started, settings: Settings, directory: Path) -> None:
    for warning in settings.warnings:
        log.warning("%s", warning)
    if started.created:
        log.info("new queue created in %s", directory, extra={"kind": "created"})
    else:
        log.info(
            "recovered %d items from %s%s",
            started.items,
            directory,
            "" if started.clean else " after an unclean stop",
            extra={"kind": "recovered", "fields": {"position": started.engine.journal.durable}},
        )
    if started.torn is not None:
        torn = started.torn
        log.warning(
            "cut a torn tail of %d bytes at offset %d of %s; it was never acknowledged and is kept as %s",
            torn.bytes, torn.offset, torn.path, torn.copy, extra={"kind": "torn"},
        )  # fmt: skip
    if started.unproven:
        log.warning(
            "%d watched processes cannot be told from others any more; leases decide",
            started.unproven,
            extra={"kind": "unproven"},
        )


def _stopping_already(_number: int, _frame: object) -> None:
    """What a signal does after the first one has ended the loop."""


class Daemon:
    """What runs between a successful start and the stop."""

    def __init__(
        self,
        started: Started,
        directory: Path,
        listener: socket.socket,
        path: str,
        configuration: Configuration,
        access: Access,
        connections: int,
        watches: Watches,
        notifier: systemd.Notifier,
    ) -> None:
        self.engine: Engine = started.engine
        settings = configuration.settings
        self.watches = watches
        clock = Clock(self.engine.queue.desk.now)
        self.clock = clock
        self.keeper = Keeper(self.engine, directory, watches)
        self.carrier = Carrier(self.engine, self.keeper, directory)
        self.memory = Memory(self.engine, settings)
        about = {
            "pid": os.getpid(),
            "uid": os.getuid(),
            "started_at": clock.now(),
            "state_dir": str(directory.resolve()),
            "socket": path,
        }
        self.server = Server(
            self.engine, listener, clock, access, settings, connections, self._watch, self.keeper.journal_low, about
        )
        self._path = path
        self.notifier = notifier
        self.control = Control(
            configuration, self.engine, self.server, (self.keeper, self.memory), notifier, f"ready on {path}"
        )

    def _watch(self, descriptor: int) -> tuple[int, int]:
        try:
            watch = self.watches.add(descriptor)
        except NotWatchable as error:
            raise ValueError(str(error)) from None
        if not watch.alive:
            raise ValueError("the process to watch has exited already")
        return watch.identity

    async def run(self) -> None:
        """Serve until a signal ends it."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._signals)
            await nursery.start(self.watches.run)
            await nursery.start(self.keeper.run)
            await nursery.start(self.carrier.run)
            await nursery.start(self.memory.run)
            await nursery.start(self.notifier.run_watchdog, self.server.healthy)
            nursery.start_soon(self._serve, nursery.cancel_scope, name="server")
            with suppress(OSError):  # nobody needs to listen
                sys.stdout.write(f"swarmshd: ready on {self._path}\n")
                sys.stdout.flush()
            self.notifier.ready(f"ready on {self._path}")

    async def _serve(self, everything: trio.CancelScope) -> None:
        await self.server.run()
        everything.cancel()

    async def _signals(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        # When the receiver is closed the journal is still to be: a second signal must not end us before that is done.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        for each in SIGNALS:
            signal.signal(each, _stopping_already)
        with trio.open_signal_receiver(*SIGNALS) as received:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            task_status.started()
            async for number in received:
                if number == signal.SIGHUP:
                    self.control.hang_up()
                    continue
                log.info("%s: stopping", signal.Signals(number).name, extra={"kind": "stopping"})
                self.notifier.stopping("answering what has come")
                self.notifier.busy("answering what has come", self.engine.settings.stop_timeout / 1000)
                self.server.drain()


class _Listening:
    """The listening socket: handed over by the service manager, or ours to bind and to remove."""

    def __init__(self, option: str | None, settings: Settings, handed_over: socket.socket | None) -> None:
        self._ours = handed_over is None
        if handed_over is not None:
            self.socket = handed_over.dup()
            self.path = str(handed_over.getsockname())
            return
        try:
            self.path = socket_path(option)
        except Nowhere as error:
            raise Quit(EX_CONFIG, str(error)) from None
        try:
            self.socket = listen(self.path, settings.socket_mode)
            self._file = _file_at(self.path)
        except OSError as error:
            raise Quit(EX_CONFIG, f"socket {self.path}: {error.strerror}; give another with --socket") from None

    def close(self) -> None:
        self.socket.close()
        if self._ours:
            try:
                if _file_at(self.path) == self._file:  # else somebody else listens there by now
                    os.unlink(self.path)
            except OSError as error:
                log.warning("socket %s: %s", self.path, error.strerror)


def _file_at(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def _access(settings: Settings) -> Access:
    try:
        return Access(settings)
    except LookupError as error:
        raise Quit(EX_CONFIG, str(error.args[0])) from None


def _handed_over() -> socket.socket | None:
    try:
        found = systemd.listening_socket()
    except systemd.ActivationError as error:
        raise Quit(EX_CONFIG, str(error)) from None
    if found is not None:
        found.setblocking(False)
    return found


def _start(arguments: argparse.Namespace) -> None:
    """Serve; or, where the socket is there in any case and this needs a person, say so to whoever comes."""
    faulthandler.enable()  # a watchdog that ends us with SIGABRT leaves in the log where each thread was
    handed_over = _handed_over()
    notifier = systemd.Notifier()
    try:
        _serve(arguments, handed_over, notifier)
    except Quit as why:
        if handed_over is None or not why.person:
            raise
        _refuse(arguments, handed_over, notifier, why)


def _refuse(arguments: argparse.Namespace, listener: socket.socket, notifier: systemd.Notifier, why: Quit) -> None:
    refusal = Refusal(why.code, str(why), next=why.follow)
    settings, file = defaults(), None
    with suppress(Quit):
        configuration = _configuration(arguments)
        _access(configuration.settings)
        settings, file = configuration.settings, configuration.file
    _log_to_stderr(settings.log_level)
    gc.enable()  # a start that came further has turned it off

    def config(names: tuple[str, ...]) -> dict[str, object]:
        if file is None:
            raise refusal
        try:
            return {"file": file, "settings": describe(settings, [known(name) for name in names])}
        except ConfigError as error:
            raise Refusal("not_found", str(error)) from None

    directory = _directory(arguments)
    about = {
        "pid": os.getpid(),
        "uid": os.getuid(),
        "started_at": wall(),
        "state_dir": str(directory.resolve()),
        "socket": str(listener.getsockname()),
    }
    refusing = Refusing(listener, refusal, settings, config, directory, about)
    trio.run(refusing.run, notifier)


def _serve(arguments: argparse.Namespace, handed_over: socket.socket | None, notifier: systemd.Notifier) -> None:
    configuration = _configuration(arguments)
    settings = configuration.settings
    _log_to_stderr(settings.log_level)
    if notifier.fault:
        log.warning("%s", notifier.fault)
    directory = _directory(arguments)
    access = _access(settings)

    def _died(identity: tuple[int, int]) -> None:
        daemon.server.died(identity)

    connections, watched = descriptor_budget(settings.max_connections, WATCHES_MAX)
    with _lock(directory, settings) as lock:
        # who connects early waits, and is served when all is there
        listening = _Listening(arguments.socket, settings, handed_over)
        try:
            watches = Watches(_died, watched)
            rest()
            started = _recover(directory, settings, watches, notifier)
            _tell(started, settings, directory)
            daemon = Daemon(
                started,
                directory,
                listening.socket,
                listening.path,
                configuration,
                access,
                connections,
                watches,
                notifier,
            )
            daemon.engine.sections["locks"] = lambda _: {
                "holder_pid": os.getpid(),
                "tries": lock.tries,
                "waits": lock.tries - 1,
                "wait_ms": round(lock.waited * 1000),
            }
            trio.run(daemon.run)
            for number in SIGNALS:  # the interpreter, as it goes, would give the others back what they do by default
                signal.signal(number, signal.SIG_IGN)
            daemon.engine.close(daemon.clock.now())
        except (BaseExceptionGroup, journal.JournalFailed, journal.Full) as failed:
            raise _unwritable(failed) from None
        finally:
            listening.close()


def _restore(arguments: argparse.Namespace) -> None:
    """Make a state directory of a backup. It needs no daemon, and starts none."""
    directory = _directory(arguments)
    with _lock(directory, _configuration(arguments).settings):
        try:
            with sys.stdin.buffer if arguments.restore == "-" else open(arguments.restore, "rb") as source:
                made = backup.restore(source, directory)
        except NotEmpty as error:
            raise Quit(EX_CONFLICT, f"state directory {error}") from None
        except backup.Unusable as error:
            raise Quit(EX_CONFIG, f"{arguments.restore}: {error}; give another") from None
        except OSError as error:
            where = error.filename if isinstance(error.filename, str) else arguments.restore
            raise Quit(EX_IOERR, f"{where}: {error.strerror}") from None
    sys.stdout.write(
        f"swarmshd: restored {counted(made['items'], 'item')}, {made['open']} of them open, {made['returned']} given "
        f"back, from position {made['of_position']} into {directory}\n"
    )


def _unwritable(failed: BaseException) -> BaseException:
    """What to raise for this: the one line of a journal that cannot be written, or itself."""
    cause: BaseException | None = failed
    if isinstance(failed, BaseExceptionGroup):
        cause = failed.subgroup((journal.JournalFailed, journal.Full))
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
    return failed if cause is None else Quit(EX_IOERR, str(cause))


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(handlers=[systemd.log_handler(sys.stderr)])
    set_level(level)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon; returns its exit status."""
    arguments = _arguments(argv)
    try:
        if arguments.restore is not None:
            _restore(arguments)
        else:
            _start(arguments)
    except Quit as quit_:
        with suppress(OSError):  # the status says it too
            sys.stderr.write(f"swarmshd: {quit_}\n")
            sys.stderr.flush()
        return quit_.status
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
