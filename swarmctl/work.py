"""``work``: the loop that claims items and runs COMMAND for each.

One thread and one ``poll``: on the replies of the daemon, on the pidfds and the output of the COMMANDs, and on signals.
Nothing here waits for anything else, so a slow daemon or a restart of it delays reports and never the end of a COMMAND.

The way of an item: claimed (under a watch of ``work`` itself); a keeper forked for it (see ``command``); ``hold`` asked
with the keeper's pidfd; acknowledged, so COMMAND starts; COMMAND ends; ``complete``, ``fail`` or ``release`` is asked;
acknowledged, so the keeper goes and the place is free. Until the acknowledgment the connection repeats each request
under its key, so a restart of the daemon is not seen.

Claims go over a connection of their own: closing it is how a claim that waits is taken back.
"""

from __future__ import annotations

import os
import select
import signal
import time

from swarmctl import identity
from swarmctl.cli import Failure, OutputLost, complain
from swarmctl.command import END, GO, KILL, Command
from swarmctl.connection import Connection, Refused, mint_key
from swarmctl.doing import became
from swarmctl.job import Job, begin, signal_name
from swarmctl.parse import Usage
from swarmctl.taking import wanted_queues
from swarmshd.protocol import NAME_MAX, VERSION, counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from swarmctl.cli import Call

    Facts = dict[str, Any]
    Answer = Callable[["Facts | Refused"], None]

CLAIM_WAIT_MS = 60_000
"""How long one claim waits at the daemon before it is asked again."""

PATIENCE = 300.0
"""Seconds that a request may go without a daemon before ``work`` gives up; a restart or an upgrade takes less."""

GRACE_MS = 10_000
FAILURES = 20
RETRY_LATER = 75
CANNOT_RUN = (126, 127)
RELEASE_MIN_MS, RELEASE_MAX_MS = 5_000, 300_000
AGAIN = 0.5
"""Seconds until a claim is asked again that was refused for now; and how often a lost connection is looked after."""

AT_ONCE = 0.01
"""Seconds that a look at a connection may take."""

LAST_WORDS = 5.0
"""Seconds after a second signal in which items are given back, if the daemon is there."""


class Worker:
    """The state of one ``work``, and its loop."""

    def __init__(self, call: Call) -> None:
        given = call.given
        self.call = call
        self.words = call.line.rest or []
        self.agent = _agent(call)
        self.own_name = "agent" not in given
        self.places: int = given.get("jobs") or _jobs(call)
        self.grace: float = given.get("grace", GRACE_MS) / 1000
        self.most_failures: int = given.get("max_failures", FAILURES)
        self.once = "once" in given
        self.until_empty = "until_empty" in given
        patience = given["timeout"] / 1000 if "timeout" in given else PATIENCE
        self.main = Connection(given.get("socket"), patience)
        self.claims = Connection(given.get("socket"), patience)
        if not call.quiet and not call.json:
            self.claims.waiting = call.remark
        self.answers: dict[int, Answer] = {}
        self.claiming = 0
        self.jobs: dict[int, Job] = {}
        self.failed: set[int] = set()
        self.anything_failed = self.succeeded = False
        self.dismissed: list[Command] = []
        self.ending = self.took_back = False
        self.status = 0
        self.claim_at = self.claimed_at = self.looked_at = 0.0
        self.hurry_at = self.leave_at = float("inf")
        self.tail = self._tail()
        try:
            self.watch = identity.open_pidfd(os.getpid())
            self.wake, self.woken = os.pipe()
        except OSError as error:
            raise Failure(f"cannot begin: {error.strerror}") from None
        self.signals = 0

    def _tail(self) -> int:
        """How much of the end of each output is kept: what was asked for, or as much as the daemon keeps."""
        most: int = self.main.call("hello", {"version": VERSION})["limits"]["output_tail"]
        wanted: int = self.call.given.get("tail", most)
        if wanted > most:
            self.main.close()
            raise Usage(f"--tail: the daemon keeps {most} bytes at most (OUTPUT_TAIL)", self.call.spoken)
        return wanted

    # -- the loop --------------------------------------------------------------------------------------

    def run(self) -> int:
        """Work until there is a reason to end; the exit status."""
        self._listen()
        try:
            while time.monotonic() < self.leave_at:
                self._claim()
                if self.ending and not self.jobs and not self.answers:
                    break
                self._poll()
                self._due()
            self._leave()
        finally:
            for command in [*[job.command for job in self.jobs.values()], *self.dismissed]:
                command.dismiss()
            self.main.close()
            self.claims.close()
        return self.status

    def _listen(self) -> None:
        os.set_blocking(self.woken, False)
        signal.set_wakeup_fd(self.woken)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)  # the wakeup descriptor tells the loop

    def _poll(self) -> None:
        """Wait for what comes next and take it."""
        poller = select.poll()
        ready: dict[int, Callable[[], None]] = {self.wake: self._signalled}
        for connection, receive in ((self.main, self._receive), (self.claims, self._receive_claim)):
            if connection.outstanding and connection.fileno() >= 0:
                ready[connection.fileno()] = receive
        for job in self.jobs.values():
            if job.running:
                ready[job.command.status] = lambda job=job: self._ended(job)  # type: ignore[misc]
            if job.command.output >= 0:
                ready[job.command.output] = job.command.read
        ready.update({command.pidfd: _nothing_to_do for command in self.dismissed})
        for descriptor in ready:
            poller.register(descriptor, select.POLLIN)
        found = poller.poll(self._patience_ms())
        for descriptor, _ in found:
            if descriptor != self.wake and descriptor in ready:
                ready[descriptor]()
        if any(descriptor == self.wake for descriptor, _ in found):
            self._signalled()

    def _patience_ms(self) -> int:
        """Milliseconds until something is due."""
        due = min([self.hurry_at, self.leave_at, *[job.due() for job in self.jobs.values()]])
        if not self.ending and not self.claiming and self._free():
            due = min(due, self.claim_at)
        for connection in (self.main, self.claims):
            if connection.ready:
                return 0
            if connection.outstanding:  # its deadlines, and a lost connection, are looked after in receive
                due = min(due, time.monotonic() + AGAIN)
        left = due - time.monotonic()
        return 60_000 if left > 60 else max(0, int(left * 1000) + 1)

    def _due(self) -> None:
        """What time brings: heartbeats, kills, the end of grace, connections to look after, keepers to clear away."""
        now = time.monotonic()
        self.dismissed = [command for command in self.dismissed if not command.gone()]
        if now >= self.looked_at + AGAIN:
            self.looked_at = now
            self._receive()
            if self.claiming:
                self._receive_claim()
        if now >= self.hurry_at:
            self.hurry_at = float("inf")
            for job in self.jobs.values():
                self._stop(job, "stop")
        for job in list(self.jobs.values()):
            if now < job.due():
                continue
            if now >= job.kill_at:
                job.kill_at = float("inf")
                self._kill(job)
            if now >= job.beat_at:
                job.beat(now)
                if not job.asked:
                    self._beat(job)

    def _signalled(self) -> None:
        """SIGTERM, SIGINT and SIGHUP: take no more, give running COMMANDs their grace; the second time, none."""
        for number in os.read(self.wake, 64):
            if number not in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                continue
            self.signals += 1
            self.end(self.status)
            if number == signal.SIGINT:
                self.status = 130
            self.hurry_at = time.monotonic() + self.grace
            if self.signals > 1:
                self.hurry_at = float("inf")
                self.leave_at = time.monotonic() + (LAST_WORDS if self.signals == 2 else 0)
                for job in self.jobs.values():
                    job.stopped = job.stopped or "stop"
                    self._kill(job)

    def end(self, status: int) -> None:
        """Claim nothing more; end with ``status`` when what runs has ended."""
        if not self.ending:
            self.ending = True
            self.status = status
            if self.claiming:
                self._receive_claim()
            if self.claiming:
                self.claims.close()
                self.claiming = 0
                self.took_back = True

    def _leave(self) -> None:
        """Give back what was granted while the claim was being taken back; the name is ours alone."""
        if not (self.own_name and self.took_back):
            return
        try:
            for facts in self.main.call("held", {"agent": self.agent}, timeout=AGAIN)["items"]:
                arguments = {"id": facts["id"], "token": facts["token"], "note": "work ended", "key": mint_key()}
                self.main.call("release", arguments, timeout=AGAIN)
        except Refused:
            pass  # the daemon sees this process end

    # -- asking ----------------------------------------------------------------------------------------

    def _ask(self, verb: str, arguments: Facts, answer: Answer, fds: tuple[int, ...] = ()) -> None:
        """Send a request; ``answer`` is called with its result or refusal."""
        (number,) = self.main.send([(verb, arguments, fds)])
        self.answers[number] = answer

    def _receive(self) -> None:
        """Take the replies that are there."""
        while self.main.outstanding:
            try:
                number, reply = self.main.receive(AT_ONCE)
            except TimeoutError:
                return
            answer = self.answers.pop(number)
            answer(reply)

    # -- claiming --------------------------------------------------------------------------------------

    def _free(self) -> int:
        return self.places - len(self.jobs)

    def _claim(self) -> None:
        """Ask for as many items as there are free places, unless that is asked already."""
        if self.ending or self.claiming or not self._free() or time.monotonic() < self.claim_at:
            return
        given = self.call.given
        arguments: Facts = {"agent": self.agent, "queue": wanted_queues(self.call), "watch": True, "key": mint_key()}
        arguments["count"] = 1 if self.once else min(self._free(), 1000)
        for field in ("type", "team", "lease"):
            if field in given:
                arguments[field] = given[field]
        if not self.once and not self.until_empty:
            arguments["wait"] = CLAIM_WAIT_MS
        patience = self.claims.timeout + arguments.get("wait", 0) / 1000
        self.claimed_at = time.monotonic()
        (self.claiming,) = self.claims.send([("claim", arguments, (self.watch,))], patience)

    def _receive_claim(self) -> None:
        try:
            _, reply = self.claims.receive(AT_ONCE)
        except (TimeoutError, LookupError):
            return
        self.claiming = 0
        if isinstance(reply, Refused):
            self._nothing(reply)
            return
        for facts in reply["items"]:
            if self.ending:
                self._give_back(facts, "work is ending", unbegun=True)
            else:
                self._begin(facts)
        if self.once:
            self.end(self.status)

    def _nothing(self, refused: Refused) -> None:
        """A claim was refused: there is nothing, or not now, or something is wrong."""
        empty = refused.code == "empty" and not refused.facts.get("paused")
        if empty and self.until_empty:
            if not self.jobs:
                self.end(1 if self.anything_failed else 0)
            self.claim_at = float("inf")  # until one of ours has ended, which may bring more
        elif refused.exit in (3, 75) and refused.code != "outcome_unknown" and not self.once:
            now = time.monotonic()
            self.claim_at = now if now > self.claimed_at + AGAIN else now + AGAIN
        else:
            self.call.refuse(refused)
            self.end(refused.exit)

    # -- one item --------------------------------------------------------------------------------------

    def _begin(self, facts: Facts) -> None:
        """Fork COMMAND for an item and have the daemon watch it."""
        prefix = None if self.call.quiet else f"[{facts['id']}] ".encode()
        base = {**self.call.environ, "SWARMSH_AGENT": self.agent, "SWARMSH_SOCKET": os.path.abspath(self.claims.path)}
        try:
            job = begin(facts, self.words, base, prefix=prefix, keep=self.tail)
        except OSError as error:
            complain(self.call.spoken, f"cannot start a process: {error.strerror}", facts["id"])
            self._give_back(facts, "no process could be started")
            self.end(1)
            return
        self.jobs[job.id] = job
        arguments = {"id": job.id, "token": job.token, "watch": True, "key": mint_key()}
        self._ask("hold", arguments, lambda reply: self._held(job, reply), (job.command.pidfd,))

    def _held(self, job: Job, reply: Facts | Refused) -> None:
        """The daemon watches COMMAND: let it go. Or it does not: nothing has begun."""
        if isinstance(reply, Refused):
            self._close(job)
            if reply.exit != 5:
                self.call.refuse(reply, job.id)
                self.end(reply.exit)
            return
        job.held = True
        job.beat(time.monotonic())
        if job.stopped:
            job.running = False
            self._report(job, "release", {"note": "work was told to end"})
        else:
            job.command.tell(GO)

    def _beat(self, job: Job) -> None:
        """Hand on a new checkpoint, and ask whether the item is still ours."""
        self._checkpoint(job)
        job.asked = True
        arguments = {"ids": [job.id], "token": job.token}
        self._ask("heartbeat", arguments, lambda reply: self._beaten(job, reply))

    def _beaten(self, job: Job, reply: Facts | Refused) -> None:
        """A heartbeat's answer: is the item still ours, and may it go on?"""
        job.asked = False
        if job.id not in self.jobs or self.jobs[job.id] is not job:
            return
        if isinstance(reply, Refused):
            if reply.exit in (4, 5):
                self._stop(job, "lost")
        elif job.id in reply.get("lost", {}):
            self._stop(job, "lost")
        elif reply.get("stop"):
            self._stop(job, "stop")

    def _checkpoint(self, job: Job) -> None:
        """Hand on what COMMAND wrote to SWARMSH_CHECKPOINT_OUT since the last look."""
        data = job.new_checkpoint()
        if data is not None:
            arguments = {"id": job.id, "token": job.token, "checkpoint": data, "key": mint_key()}
            self._ask("progress", arguments, lambda reply: self._saved(job, reply))

    def _saved(self, job: Job, reply: Facts | Refused) -> None:
        if isinstance(reply, Refused) and reply.code == "too_large":
            self.call.refuse(reply, job.id)

    def _stop(self, job: Job, why: str) -> None:
        """Ask COMMAND to end, and see to it that it does."""
        if not job.stopped:
            job.stopped = why
            if job.held:
                job.command.tell(END)
            job.kill_at = time.monotonic() + self.grace

    def _kill(self, job: Job) -> None:
        """End COMMAND at once; one that has not begun never will, see ``_held``."""
        if job.held:
            job.command.tell(KILL)

    def _ended(self, job: Job) -> None:
        """COMMAND is gone: report what became of it."""
        if self.jobs.get(job.id) is not job:
            return
        job.running = False
        status = job.command.ended()
        if status is None or job.stopped == "lost":  # without its keeper the daemon has taken the item back
            self._close(job)
        elif status == 0:
            self._report(job, "complete", {"exit_status": 0})
        elif status == RETRY_LATER:
            self._checkpoint(job)
            self._ask("show", {"id": job.id}, lambda reply: self._release_later(job, reply))
        elif job.stopped == "stop":
            self._checkpoint(job)
            self._report(job, "release", {"note": "work was told to end"})
        elif status in CANNOT_RUN and not self.succeeded:
            self._report(job, "release", {"note": f"exit status {status}: COMMAND cannot run here"})
            if not self.ending:
                complain(self.call.spoken, f"COMMAND cannot run (status {status}); nothing was lost, its item is back")
                self.end(status)
        else:
            self._checkpoint(job)
            reason = f"killed by {signal_name(-status)}" if status < 0 else f"exit status {status}"
            self._report(job, "fail", {"reason": reason, "exit_status": 128 - status if status < 0 else status})

    def _release_later(self, job: Job, reply: Facts | Refused) -> None:
        """Status 75: back to the queue, for longer each time."""
        before = 0 if isinstance(reply, Refused) else reply.get("releases", 0)
        delay = min(RELEASE_MIN_MS << min(before, 10), RELEASE_MAX_MS)
        self._report(job, "release", {"delay": delay, "note": f"exit status {RETRY_LATER}"})

    def _report(self, job: Job, verb: str, facts: Facts) -> None:
        """Tell the daemon how an item ended; its place is free when the daemon knows."""
        arguments = {"id": job.id, "token": job.token, "key": mint_key(), **facts}
        if verb != "release" and job.command.tail:
            arguments["output"] = job.command.tail
        self._ask(verb, arguments, lambda reply: self._reported(job, verb, facts, reply))

    def _reported(self, job: Job, verb: str, facts: Facts, reply: Facts | Refused) -> None:
        if isinstance(reply, Refused):
            if reply.code == "too_large" and "output" not in facts:
                self._report(job, verb, {**facts, "output": job.command.tail[-1024:]})
                return
            if reply.exit not in (4, 5):  # those mean: COMMAND has ended the item itself, or it was cancelled
                self.call.refuse(reply, job.id)
                self.end(reply.exit)
            self._close(job)
            self.succeeded = self.succeeded or facts.get("exit_status") == 0
            return
        self._say(reply)
        self._close(job)
        self._count(job, verb)

    def _count(self, job: Job, verb: str) -> None:
        """Keep the score: a success ends a row of failures, a long row ends the work."""
        if verb == "complete":
            self.succeeded = True
            self.failed.clear()
        elif verb == "fail":
            self.anything_failed = True
            self.failed.add(job.id)
            if self.once:
                self.status = self.status or 1
            if self.most_failures and len(self.failed) >= self.most_failures and not self.ending:
                complain(self.call.spoken, f"{counted(len(self.failed), 'item')} failed in a row; no more are taken")
                self.end(1)
        elif self.once:
            self.status = self.status or RETRY_LATER

    def _say(self, reply: Facts) -> None:
        """One line on stdout for an item that has ended."""
        out = self.call.out
        if self.call.json:
            self.call.emit(reply)
        else:
            out.text(f"{reply['id']}\n" if self.call.quiet else became(reply) + "\n")
        try:
            out.flush()
        except OutputLost as lost:  # what runs is still worth finishing
            if not lost.quiet and not self.ending:
                complain(self.call.spoken, str(lost))
            self.end(1)

    def _close(self, job: Job) -> None:
        if self.jobs.get(job.id) is not job:
            return
        del self.jobs[job.id]
        job.command.dismiss()
        self.dismissed.append(job.command)
        if self.claim_at == float("inf"):
            self.claim_at = 0.0

    def _give_back(self, facts: Facts, note: str, *, unbegun: bool = False) -> None:
        arguments = {"id": facts["id"], "token": facts["token"], "note": note, "unbegun": unbegun, "key": mint_key()}
        self._ask("release", arguments, lambda _: None)


def _agent(call: Call) -> str:
    """The name that was given, else the caller's with this process's pid: each ``work`` is an agent of its own."""
    if "agent" in call.given:
        return call.agent
    tail = f".{os.getpid()}"
    return call.agent[: NAME_MAX - len(tail)] + tail


def _jobs(call: Call) -> int:
    word = call.environ.get("PARALLEL_JOBS", "")
    return int(word) if word.isascii() and word.isdigit() and 0 < len(word) < 5 and int(word) else 1


def _nothing_to_do() -> None:
    """For a descriptor that only has to wake the loop."""


def work(call: Call) -> int:
    """Claim items and run COMMAND for each."""
    if "once" in call.given and "until_empty" in call.given:
        raise Usage("--once and --until-empty exclude each other", call.spoken)
    return Worker(call).run()
