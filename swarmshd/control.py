"""The settings of a running daemon: what is in force, how it changes, and who is told.

``config set``, ``config unset`` and a reload lead to a proposal; what can be wrong with it is found before anything
changes. Then everything that goes by settings takes them: the rules, the journal, the connections, the keeper, the log.
A reload by signal and one by request do the same.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from swarmshd.commands import Refusal, Request
from swarmshd.commands.governing import ConfigSet, ConfigUnset, Reload
from swarmshd.commands.looks import Config
from swarmshd.configuration import ConfigError, Configuration, Excluded, Proposal, known
from swarmshd.engine import PERSON, Client, Condition, Engine
from swarmshd.server import Access, Server
from swarmshd.settings import TABLE, Settings, describe
from swarmshd.systemd import Notifier

log = logging.getLogger("swarmshd.control")

Row = dict[str, Any]


class Configured(Protocol):
    """Whatever goes by settings and takes others while it runs."""

    def configure(self, settings: Settings) -> None: ...


class Control:
    """Answers the verbs about settings, and hands changed ones on."""

    def __init__(
        self,
        configuration: Configuration,
        engine: Engine,
        server: Server,
        others: Iterable[Configured],
        notifier: Notifier,
        ready: str,
    ) -> None:
        self._configuration = configuration
        self._engine = engine
        self._server = server
        self._others = tuple(others)
        self._notifier = notifier
        self._ready = ready
        """What the service manager is told when there is nothing else to tell."""
        self._fault = ""
        """Why the file was not taken when it was last read."""
        engine.health.checks.append(self._check)
        engine.answers["config"] = self._show
        engine.answers["config_set"] = self._set
        engine.answers["config_unset"] = self._unset
        engine.answers["reload"] = self._reload

    # -- by request --------------------------------------------------------------------------------------

    def _show(self, _: Client, request: Request) -> Row:
        command: Config = request.command
        with _lawful("not_found"):
            names = [known(name) for name in command.names]
        return {"file": self._configuration.file, "settings": self._rows(names or TABLE)}

    def _set(self, client: Client, request: Request) -> Row:
        command: ConfigSet = request.command
        if command.persist:
            with _lawful("config"):
                self._configuration.reading_again()  # a line more would not mend it
        with _lawful("bad_request"):
            values = {known(name): value for name, value in command.values.items()}
            if command.persist:
                lines = self._configuration.writing(values)
                rows = [row | {"line": lines[row["name"]]} for row in self._rows(values)]
                return {"file": self._configuration.file, "settings": rows}
            proposal = self._configuration.choosing(values)
            before = self._adopt(proposal, _by(client, "config set"))
        return {"file": self._configuration.file, "settings": self._rows(values, before)}

    def _unset(self, client: Client, request: Request) -> Row:
        command: ConfigUnset = request.command
        with _lawful("not_found"):
            names = [known(name) for name in command.names]
            proposal = self._configuration.taking_back(names)
        with _lawful("conflict"):
            before = self._adopt(proposal, _by(client, "config unset"))
        return {"file": self._configuration.file, "settings": self._rows(names, before)}

    def _reload(self, client: Client, request: Request) -> Row:
        command: Reload = request.command
        with _lawful("bad_request"):
            names = [known(name) for name in command.unset]
        with _lawful("config"):
            before = self._read_again(_by(client, "reload"), names)
        changed = [row for row in self._rows(TABLE, before) if row["was"] != row["value"]]
        waiting = [row for row in self._rows(TABLE) if "after_restart" in row]
        return {"file": self._configuration.file, "changed": changed, "waiting": waiting}

    def _rows(self, names: Iterable[str], before: Settings | None = None) -> list[Row]:
        """What is in force for each setting, what was before, and what a start would have instead."""
        rows: list[Row] = []
        for row in describe(self._configuration.settings, names):
            name = str(row["name"])
            if before is not None:
                row["was"] = TABLE[name].show(before.value(name))
            after = TABLE[name].show(self._configuration.coming.value(name))
            if after != row["value"]:
                row["after_restart"] = after
            rows.append(row)
        return rows

    # -- by signal, too ----------------------------------------------------------------------------------

    def hang_up(self) -> None:
        """SIGHUP: read the configuration again."""
        with suppress(ConfigError):  # the log says it
            self._read_again("SIGHUP")

    def _read_again(self, why: str, taken_back: Iterable[str] = ()) -> Settings:
        """Read the file again and take what it says; what was in force before.

        Raises:
            ConfigError: nothing has changed, and the log says why.
        """
        self._notifier.reloading()
        self._fault = ""
        try:
            return self._adopt(self._configuration.reading_again(taken_back), why)
        except ConfigError as error:
            self._fault = str(error)
            log.error("%s: %s; the settings stay as they were", why, error, extra={"kind": "refused"})
            raise ConfigError(f"{error}; the settings stay as they were") from None
        finally:
            self._notifier.ready(f"{self._ready}; not read again: {self._fault}" if self._fault else self._ready)

    def _check(self, _: int) -> Iterator[Condition]:
        if self._fault:
            fact = f"the configuration was refused, and the next start would be: {self._fault}"
            yield Condition("config_refused", PERSON, fact, "swarmctl reload")

    def _adopt(self, proposal: Proposal, why: str) -> Settings:
        """Have everything take the proposal; what was in force before. Raises ConfigError, and nothing changed then."""
        before = self._configuration.settings
        settings = proposal.settings
        try:
            access = Access(settings)
        except LookupError as error:
            raise ConfigError(str(error.args[0])) from None
        self._configuration.adopt(proposal)
        self._engine.configure(settings)
        self._server.configure(settings, access)
        for each in self._others:
            each.configure(settings)
        set_level(settings.log_level)
        for warning in settings.warnings:
            if warning not in before.warnings:
                log.warning("%s", warning)
        self._tell(why, before)
        return before

    def _tell(self, why: str, before: Settings) -> None:
        """What changed goes into the log, and what waits."""
        rows = self._rows(TABLE, before)
        said = [f"{row['name']} {row['was']} -> {row['value']}" for row in rows if row["was"] != row["value"]]
        said += [f"{row['name']} {row['after_restart']} waits for a restart" for row in rows if "after_restart" in row]
        log.info("%s: %s", why, "; ".join(said) or "nothing changed", extra={"kind": "reloaded"})


@contextmanager
def _lawful(code: str) -> Iterator[None]:
    """What cannot be used is refused with this code, or as a conflict."""
    try:
        yield
    except Excluded as error:
        raise Refusal("config" if code == "config" else "conflict", str(error)) from None
    except ConfigError as error:
        raise Refusal(code, str(error)) from None


def _by(client: Client, verb: str) -> str:
    return f"{verb} by pid {client.actor.pid}, uid {client.actor.uid}"


def set_level(level: str) -> None:
    """Log what is at least as grave."""
    logging.getLogger().setLevel(logging.DEBUG if level == "trace" else level.upper())
