"""``lock NAME -- COMMAND``: run COMMAND while nobody else has the lock; ``locks`` and ``unlock``.

The lock is taken under a watch of this process; then it is put under the keeper's (see ``command``), and only when the
daemon has said so COMMAND starts. So the lock is free when COMMAND is gone and not before, whoever is killed, and never
do two COMMANDs run under one lock. Heartbeats go on while COMMAND runs: they learn whether the lock was taken away, and
keep a COMMAND of many hours from being thought stalled. A restart of the daemon is a pause in them.
"""

from __future__ import annotations

import os
import select
import signal
import time

from swarmctl import identity, render
from swarmctl.cli import Failure, complain
from swarmctl.command import END, GO, KILL, Command, take_terminal, terminal_of_ours
from swarmctl.connection import Connection, Refused, mint_key
from swarmctl.parse import Usage, positional

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from swarmctl.cli import Call

    Facts = dict[str, Any]

NOT_GOT, OWN_ERROR = 3, 125
GRACE_MS = 10_000
HEARTBEAT_MAX = 10.0
"""Seconds between two heartbeats at most: how long COMMAND may run on after its lock was taken away."""

PATIENCE = 300.0
"""Seconds that a heartbeat may go without a daemon; a restart or an upgrade takes less."""

AGAIN = 0.5
"""Seconds after which a lost connection is looked after."""

AT_ONCE = 0.01
LAST_WORDS = 5.0
"""Seconds for giving the lock back; without a daemon the end of the keeper does it."""


def lock(call: Call) -> int:
    """Take the lock, run COMMAND, give it back; COMMAND's exit status."""
    name = positional("name", call.words[0], "NAME", call.spoken)
    not_got: int = call.given.get("conflict_exit", NOT_GOT)
    if not_got > 255:
        raise Usage("--conflict-exit: an exit status is 0 to 255", call.spoken)
    try:
        taken = _take(call, name)
        return Holder(call, name, taken).run() if taken is not None else not_got
    except Refused as refused:
        refused.exit = OWN_ERROR
        call.refuse(refused, name)
    except Failure as failure:
        complain(call.spoken, str(failure), name)
    except OSError as error:
        complain(call.spoken, f"cannot begin: {error.strerror}", name)
    return OWN_ERROR


def _take(call: Call, name: str) -> Facts | None:
    """The lock as the daemon grants it; None if somebody else has it."""
    wait: int = call.given.get("wait", 0)
    watch = identity.open_pidfd(os.getpid())
    arguments: Facts = {"agent": call.agent, "name": name, "watch": True}
    if "lease" in call.given:
        arguments["lease"] = call.given["lease"]
    try:
        if wait and os.isatty(2) and not call.quiet and not call.json:
            try:
                return call.ask("lock", {**arguments, "key": call.key()}, wait_ms=0, fds=(watch,))
            except Refused as refused:
                if refused.code != "timeout":
                    raise
                call.remark(f"waiting: {refused.message}")
        return call.ask("lock", {**arguments, "key": call.key()}, wait_ms=wait, fds=(watch,))
    except Refused as refused:
        if refused.code != "timeout":
            raise
        refused.exit = call.given.get("conflict_exit", NOT_GOT)
        call.refuse(refused, name)
        return None
    finally:
        os.close(watch)


class Holder:
    """A lock that is held, and its COMMAND."""

    def __init__(self, call: Call, name: str, taken: Facts) -> None:
        self.call = call
        self.name = name
        self.item: int = taken["id"]
        self.token: str = taken["token"]
        self.beats: float = min(taken["lease"] / 3000, HEARTBEAT_MAX)
        self.grace: float = call.given.get("grace", GRACE_MS) / 1000
        self.connection: Connection = call.connection
        self.connection.waiting = None
        self.asked = self.lost = False
        self.stopped = 0
        self.beat_at = time.monotonic() + self.beats
        self.kill_at = float("inf")
        self.terminal = terminal_of_ours()
        self.wake, self.woken = os.pipe()
        os.set_blocking(self.woken, False)
        signal.set_wakeup_fd(self.woken)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)  # the wakeup descriptor tells the loop
        environ = {
            **call.environ,
            "SWARMSH_LOCK": name,
            "SWARMSH_FENCE": str(taken["fence"]),
            "SWARMSH_TOKEN": self.token,
            "SWARMSH_AGENT": call.agent,
            "SWARMSH_SOCKET": os.path.abspath(self.connection.path),
        }
        self.command = Command(call.line.rest or [], environ, None, terminal=self.terminal)

    def run(self) -> int:
        """Have COMMAND watched, let it go, see it to its end; its exit status as a shell tells it."""
        try:
            self._hold()
            self.command.tell(GO)
            while not self._poll():
                self._due()
            status = self.command.ended()
            self._give_back()
        finally:
            self.command.dismiss()
            if self.terminal >= 0:
                take_terminal(self.terminal)
        if status is None:
            complain(
                self.call.spoken, "the process between this one and COMMAND was killed, and COMMAND too", self.name
            )
            return OWN_ERROR
        if self.lost:
            return OWN_ERROR
        return 128 - status if status < 0 else status

    def _hold(self) -> None:
        arguments = {"id": self.item, "token": self.token, "watch": True, "key": mint_key()}
        self.connection.call("hold", arguments, fds=(self.command.pidfd,))

    def _poll(self) -> bool:
        """Wait for what comes next and take it; whether COMMAND, or its keeper, is gone."""
        poller = select.poll()
        poller.register(self.command.status, select.POLLIN)
        poller.register(self.wake, select.POLLIN)
        due = min(self.kill_at, float("inf") if self.asked else self.beat_at)
        if self.asked:
            due = min(due, time.monotonic() + AGAIN)
            if self.connection.fileno() >= 0:
                poller.register(self.connection.fileno(), select.POLLIN)
        ready = {descriptor for descriptor, _ in poller.poll(max(0, min(60_000, (due - time.monotonic()) * 1000)) + 1)}
        if self.wake in ready:
            self._signalled()
        return self.command.status in ready

    def _due(self) -> None:
        now = time.monotonic()
        if now >= self.kill_at:
            self.kill_at = float("inf")
            self.command.tell(KILL)
        if self.asked:
            self._heard()
        elif now >= self.beat_at:
            self.beat_at = now + self.beats
            self.asked = True
            self.connection.send([("heartbeat", {"ids": [self.item], "token": self.token}, ())], PATIENCE)

    def _heard(self) -> None:
        """The answer to a heartbeat, if it is there: whether the lock is still ours."""
        try:
            _, reply = self.connection.receive(AT_ONCE)
        except TimeoutError:
            return
        self.asked = False
        gone = reply.exit in (4, 5) if isinstance(reply, Refused) else self.item in reply.get("lost", {})
        if gone and not self.lost:
            self._lose("COMMAND is told to end")
            self._stop()

    def _lose(self, then: str) -> None:
        self.lost = True
        complain(self.call.spoken, f"the lock was lost: somebody else may have it; {then}", self.name)

    def _signalled(self) -> None:
        """SIGTERM, SIGINT, SIGHUP: COMMAND is told to end, and gets its grace; the second time, none."""
        for _ in os.read(self.wake, 64):
            self._stop()

    def _stop(self) -> None:
        self.stopped += 1
        self.command.tell(END if self.stopped == 1 else KILL)
        self.kill_at = time.monotonic() + self.grace if self.stopped == 1 else float("inf")

    def _give_back(self) -> None:
        """COMMAND is gone. If the daemon cannot be told, the keeper's end tells it, or the lease."""
        arguments = {"name": self.name, "token": self.token, "key": mint_key()}
        try:
            self.connection.call("unlock", arguments, timeout=LAST_WORDS)
        except Refused as refused:
            if refused.exit == 5 and not self.lost:
                self._lose("COMMAND had not ended yet")


def unlock(call: Call) -> int:
    """Give a lock back that was taken without COMMAND; or, as an admin, take it away from whoever has it."""
    name = positional("name", call.words[0], "NAME", call.spoken)
    arguments: Facts = {"name": name, "key": call.key()}
    if "force" in call.given:
        arguments["force"] = True
    elif call.given.get("token"):
        arguments["token"] = call.given["token"]
    elif call.environ.get("SWARMSH_LOCK") == name and call.environ.get("SWARMSH_TOKEN"):
        arguments["token"] = call.environ["SWARMSH_TOKEN"]
    else:
        arguments["agent"] = call.agent
    result = call.ask("unlock", arguments)
    if call.json:
        call.emit(result)
    elif not call.quiet:
        call.out.row(name, "free")
    return 0


def locks(call: Call) -> int:
    """The locks that are held: name, agent, since when, fence, watched process, how many wait."""
    from swarmctl.looking import PAGE, now_ms

    wanted: Facts = {"queue": ["@lock"], "state": ["claimed"], "limit": PAGE}
    if call.words:
        wanted["type"] = [positional("name", word, "NAME", call.spoken) for word in call.words]
    page: Facts = {"more": True, "after_id": 0}
    found: list[Facts] = []
    while page["more"]:
        page = call.ask("list", {**wanted, "after_id": page["after_id"]})
        found += page["items"]
    if call.out.terminal and not call.json and not call.quiet:
        from swarmctl.views import tables

        call.lines(tables.locks(call.screen, found, now_ms()), "no lock is held")
        return 0
    for item in found:
        facts = {name: item.get(name) for name in ("agent", "claimed_at", "fence", "watching", "waiting")}
        whole = {"name": item["type"], "id": item["id"], "lease_until": item["lease_until"], **facts}
        facts["claimed_at"] = render.rfc3339(item["claimed_at"])
        call.tell(whole, item["type"], (item["type"], *facts.values()))
    return 0
