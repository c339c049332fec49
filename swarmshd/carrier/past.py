"""Looking back: processes that read the journal's files, and the pages that are made of what they tell.

Each is ``python -m swarmshd.history``. A page is as much of what it tells as a reply may hold, or as came in a while;
the process then waits, its pipe full, for whoever asked to ask for the next one. If nobody does it is ended.
"""

import json
import logging
import sys
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, NamedTuple

import cbor2
import trio

from swarmshd import beside, events
from swarmshd.carrier.program import Program
from swarmshd.commands import Refusal, encode_body_with
from swarmshd.engine import Asked, Errand
from swarmshd.protocol import Decoder

log = logging.getLogger("swarmshd.carrier")

PAGE_BYTES = 1 << 20
"""Bytes of events after which a page ends."""

PAGE_SECONDS = 2.0
"""Seconds of reading after which a page ends, whatever it holds: its reader learns how far it is, and asks again."""

PIECE = 100
"""Most events in a piece of what a process tells."""

TELLERS_MAX = 8
"""Processes at once, those included that wait to be asked again; when one more is needed the one idle longest goes."""

IDLE_SECONDS = 10.0
LOOK_SECONDS = 1.0
"""Seconds between looks for processes that nobody asks any more."""

FRAME_MAX = 64 << 20
"""Bytes of what a process may send at once: more than one event takes."""


class Page(NamedTuple):
    """A part of the past: so many events, the position reached, the events encoded, and whether there is more.

    What was to come next may be ``gone``: removed, as it is to be kept no longer. Then whoever asks again begins anew.
    """

    told: int
    position: int
    rows: bytes
    more: bool
    gone: bool = False


class Past:
    """All processes that look back into the journal in ``directory``, whose durable position ``durable`` tells."""

    def __init__(self, directory: Path, durable: Callable[[], int]) -> None:
        self._directory = directory
        self._durable = durable
        self._idle: dict[Hashable, tuple[Teller, Errand, float]] = {}
        self._busy = 0
        self._over = False

    async def watch(self, errand: Errand) -> bytes:
        """A page of what came after a position."""
        asked: Asked = errand.asked
        page, teller = await self._page(errand, oldest=asked.at is not None)
        if not teller.known:
            raise _gone(asked, teller.oldest)
        result: dict[str, object] = {"position": page.position, "more": page.position < self._durable()}
        if asked.wanted.ids is not None:
            result["ids"] = sorted(asked.wanted.ids)
        return encode_body_with(result, "events", page.told, page.rows)

    async def history(self, errand: Errand) -> bytes:
        """A page of everything that is left of some items."""
        page, teller = await self._page(errand, oldest=True)
        ids = sorted(errand.asked.wanted.ids)
        result = {"position": page.position, "more": page.more, "oldest": teller.oldest, "ids": ids}
        return encode_body_with(result, "events", page.told, page.rows)

    async def _page(self, errand: Errand, *, oldest: bool) -> tuple[Page, "Teller"]:
        asked: Asked = errand.asked
        found = self._idle.pop(_key(errand, asked.since), None)
        self._busy += 1
        try:
            if found is not None:
                teller = found[0]
            else:
                self._make_room()
                teller = Teller(self._directory, asked, oldest=oldest)
            try:
                page = await teller.page(asked.limit)
                while page.gone and not page.told and page.position == asked.since:  # what is left is looked at anew
                    teller.close()
                    teller = Teller(self._directory, asked, oldest=oldest)
                    page = await teller.page(asked.limit)
            except BaseException:
                teller.close()
                raise
        finally:
            self._busy -= 1
        key = _key(errand, page.position)
        if page.more and not page.gone and not self._over and key not in self._idle:
            self._idle[key] = teller, errand, trio.current_time()
        else:
            teller.close()
        return page, teller

    def _make_room(self) -> None:
        """End those that have waited longest."""
        while self._idle and self._busy + len(self._idle) > TELLERS_MAX:
            self._end(next(iter(self._idle)))

    def _end(self, key: Hashable) -> None:
        self._idle.pop(key)[0].close()

    async def forget(self) -> None:
        """End, again and again, those whose client has gone or has not asked again; all at the end."""
        try:
            while True:
                await trio.sleep(LOOK_SECONDS)
                long_ago = trio.current_time() - IDLE_SECONDS
                for key, (_, errand, since) in list(self._idle.items()):
                    if errand.client.closing or since < long_ago:
                        self._end(key)
        finally:
            self._over = True
            while self._idle:
                self._end(next(iter(self._idle)))


def _key(errand: Errand, position: int) -> Hashable:
    """What the next request must be for a process to go on with it."""
    asked: Asked = errand.asked
    return errand.client, errand.verb, asked.wanted, asked.limit, position


def _gone(asked: Asked, oldest: int) -> Refusal:
    text = f"watch: position {asked.since} is gone; the oldest that is left is {oldest}"
    if asked.since > oldest:
        text = f"watch: position {asked.since} was never reached, it lies between two epochs; begin with {oldest}"
    return Refusal("position_gone", text, oldest=oldest, newest=asked.upto)


class Teller:
    """One process. After the first page ``oldest`` and ``known`` are what it said of the journal.

    Raises:
        OSError: it could not be started.
    """

    def __init__(self, directory: Path, asked: Asked, *, oldest: bool) -> None:
        self.oldest = 0
        self.known = True
        self._begun = False
        self._position = asked.since
        self._upto = asked.upto
        self._decoder = Decoder(FRAME_MAX)
        self._pieces: list[tuple[int, int, bytes]] = []
        wanted = asked.wanted
        wish: dict[str, Any] = {
            "since": asked.since,
            "upto": asked.upto,
            "piece": min(PIECE, asked.limit),
            "oldest": oldest,
            "at": asked.at,
            "ids": None if wanted.ids is None else sorted(wanted.ids),
            "queues": sorted(wanted.queues),
            "types": sorted(wanted.types),
            "group": wanted.group,
            "locks": wanted.locks,
            "places": None if asked.places is None else [[number, *place] for number, place in asked.places.items()],
        }
        command = [sys.executable, "-m", "swarmshd.history", "--directory", str(directory)]
        self._program = Program([*command, "--format", str(events.FORMAT)], json.dumps(wish).encode())

    async def page(self, limit: int) -> Page:
        """As much as there is of what it tells, up to the bounds of a page.

        Raises:
            Refusal: it failed.
        """
        count = size = 0
        rows: list[bytes] = []
        more = await self._begin()
        with trio.move_on_after(PAGE_SECONDS):
            while more and count < limit and size < PAGE_BYTES:
                if not self._pieces:
                    more = await self._read()
                    continue
                if rows and count + self._pieces[0][0] > limit:
                    break
                found, self._position, data = self._pieces.pop(0)
                count += found
                size += len(data)
                rows.append(data)
        gone = not more and await self._program.status() == beside.GONE
        if gone:
            return Page(count, self._position, b"".join(rows), more=True, gone=True)
        if not more and self.known and self._position < self._upto:
            log.error("the past cannot be read: %s", self._why())
            raise Refusal("journal_corrupt", f"what the journal holds of the past cannot be read: {self._why()}")
        return Page(count, self._position, b"".join(rows), more and self._position < self._upto)

    async def _begin(self) -> bool:
        """Wait for what it says first, however long: no page can do without it. False at the end, as ``_read``."""
        more = True
        while more and not self._begun:
            more = await self._read()
        return more

    async def _read(self) -> bool:
        """Take the next bytes of what it tells; False at the end, when it has exited."""
        data = await self._program.read(1 << 16)
        for body in self._decoder.feed(data):
            message = cbor2.loads(body)
            if not self._begun:
                self._begun = True
                self.oldest, self.known = message
            else:
                self._pieces.append(tuple(message))
        return bool(data)

    def _why(self) -> str:
        return self._program.said or "it said nothing"

    def close(self) -> None:
        """End it, if it has not ended."""
        self._program.close()
