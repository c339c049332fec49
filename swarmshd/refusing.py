"""What serves the socket while the daemon needs a person, where a service manager holds that socket.

Without it the program would end, be started again for the next client, and end again, while clients wait. It touches
nothing: it tells who and how it is, lists and checks the journal's files, and refuses everything else with what is
wrong and the command that mends it. Whoever has mended it restarts the service.

Few come here and it is not for long, so that a task for each connection will do.
"""

import logging
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import trio

from swarmshd import __version__, commands
from swarmshd.carrier.streams import Streams
from swarmshd.commands import Actor, Refusal
from swarmshd.commands.looks import JournalFiles
from swarmshd.engine import PERSON, Condition
from swarmshd.protocol import VERBS, VERSION, Decoder, FrameTooLarge
from swarmshd.server import Access
from swarmshd.settings import Settings
from swarmshd.systemd import Notifier

log = logging.getLogger("swarmshd.refusing")

CONNECTIONS_MAX = 256
"""Connections at once; one more is closed."""

PATIENCE = 30.0
"""Seconds in which a peer has to send something, or to take what it is owed."""

READ_SIZE = 1 << 16

LOOKS = ("list", "check")
"""What can be asked of the journal's files."""

STATE = "needs a person"


class Peer:
    """Somebody who has connected."""

    def __init__(self, actor: Actor, classes: frozenset[str]) -> None:
        self.actor = actor
        self.classes = classes
        self.closing = False


class Refusing:
    """Answers on a listening socket why nothing goes on, until a signal ends it.

    Args:
        listener: it, not blocking.
        why: what everybody is refused with.
        settings: those that could be read, or the defaults.
        config: what is told of them; raises Refusal where they could not be read.
        directory: the state directory.
        about: facts for ``status``.
    """

    def __init__(
        self,
        listener: socket.socket,
        why: Refusal,
        settings: Settings,
        config: Callable[[tuple[str, ...]], dict[str, Any]],
        directory: Path,
        about: dict[str, Any],
    ) -> None:
        self._listener = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        self._why = why
        self._settings = settings
        self._access = Access(settings)
        self._about = about
        self._streams = Streams(directory)
        self._peers = 0
        self._answers: dict[str, Callable[[Peer, Any], dict[str, Any]]] = {
            "hello": self._hello,
            "status": self._status,
            "health": self._health,
            "config": lambda _, command: config(command.names),
        }

    async def run(self, notifier: Notifier) -> None:
        """Say READY, and answer until SIGTERM or SIGINT."""
        log.error("%s; until then every request is refused", self._why.message)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._accept, nursery)
                nursery.start_soon(self._streams.forget)
                await nursery.start(notifier.run_watchdog, lambda: True)
                notifier.ready(f"{STATE}: {self._why.message}")
                async for number in received:
                    if number != signal.SIGHUP:
                        break
                    log.error("%s; restart the service when that is done", self._why.message)
                notifier.stopping("")
                nursery.cancel_scope.cancel()

    async def _accept(self, nursery: trio.Nursery) -> None:
        while True:
            try:
                stream = await self._listener.accept()
            except OSError as error:  # out of descriptors
                log.warning("cannot accept connections: %s", error.strerror)
                await trio.sleep(0.1)
                continue
            if self._peers >= CONNECTIONS_MAX:
                await trio.aclose_forcefully(stream)
            else:
                self._peers += 1
                nursery.start_soon(self._serve, stream)

    async def _serve(self, stream: trio.SocketStream) -> None:
        peer: Peer | None = None
        try:
            with suppress(trio.BrokenResourceError, OSError, FrameTooLarge), trio.move_on_after(PATIENCE) as patience:
                peer = Peer(*self._access.peer(cast("socket.socket", stream.socket)))
                decoder = Decoder(self._settings.frame_max)
                while data := await stream.receive_some(READ_SIZE):
                    for body in decoder.feed(data):
                        reply = await self._reply(peer, body)
                        await stream.send_all(reply)
                    patience.deadline = trio.current_time() + PATIENCE
        finally:
            self._peers -= 1
            if peer is not None:
                peer.closing = True
            await trio.aclose_forcefully(stream)

    async def _reply(self, peer: Peer, body: bytes) -> bytes:
        number = 0
        try:
            number, verb, arguments = commands.decode(body)
            if verb != "journal" and verb not in self._answers:
                raise self._why
            request = commands.structure(verb, arguments, peer.actor.uid)
            if VERBS[request.verb] not in peer.classes:
                raise commands.lacking(request.verb, peer.actor.uid)
            if verb == "journal":
                return commands.encode_result(number, await self._journal(peer, request.command))
            return commands.encode_result(number, self._answers[request.verb](peer, request.command))
        except Refusal as refusal:
            return commands.encode_refusal(number, refusal)

    # -- what is answered

    def _hello(self, peer: Peer, command: Any) -> dict[str, Any]:
        settings = self._settings
        limits = ("frame_max", "payload_max", "output_tail", "checkpoint_max", "description_max")
        return {
            "protocol": VERSION,
            "program": f"swarmshd {__version__}",
            "epoch": 0,
            "position": 0,
            "capabilities": [],
            "you": {"uid": peer.actor.uid, "pid": peer.actor.pid, "classes": sorted(peer.classes)},
            "limits": {name: getattr(settings, name) for name in limits},
        }

    def _status(self, _: Peer, __: Any) -> dict[str, Any]:
        return {
            "program": f"swarmshd {__version__}",
            "protocol": VERSION,
            "state": STATE,
            "why": self._why.message,
            "next": self._why.facts["next"],
            **self._about,
        }

    def _health(self, _: Peer, __: Any) -> dict[str, Any]:
        condition = Condition("needs_person", PERSON, self._why.message, str(self._why.facts["next"]))
        return {"conditions": [condition._asdict() | {"since": self._about["started_at"]}]}

    async def _journal(self, peer: Peer, command: JournalFiles) -> dict[str, Any]:
        if command.want not in LOOKS or command.digest:
            raise self._why
        if command.stream is not None:
            return await self._streams.part(self._streams.resume(peer, command.stream))
        options = ["--deep"] if command.deep else []
        options += [] if command.measure else ["--no-measure"]
        return await self._streams.part(self._streams.begin(peer, command.want, options))
