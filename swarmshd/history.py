"""What the journal still holds of the past, told as a program of its own, so that nobody waits for it.

    python -m swarmshd.history --directory DIR --format N  < wish

The wish is one JSON object: ``since`` and ``upto`` (positions), ``piece`` (most events in a piece), what is wanted
(``ids``, ``queues``, ``types``, ``group``, ``locks``), ``oldest`` (begin with the oldest event that is left if
``since`` is older), ``at`` (a moment before which nothing is told), and ``places``: queue, type and group of items by
their ids, where somebody knows them. Without ``places`` all items' are read from a snapshot, and followed from
there on.

It writes frames, as on the wire, each with one CBOR array: first ``[oldest, known]``, the position after which all
events are left, and whether ``since`` is a position that can be gone on from. Then pieces
``[count, position, events]``: that many events, encoded one after another, and the position that has been reached;
now and then without an event, so that whoever reads learns how far it is. It takes as much as it wants, and meanwhile
nothing more is read.

Exit status: 0 all told; 74 the disk failed; 75 something was removed before it was told, and whoever asks again is
told of the rest; 78 damage, or a difference of formats. Every failure is one line.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import cbor2

from swarmshd import beside, events, journal, told
from swarmshd.protocol import frame
from swarmshd.told import Gazetteer, Place, Wanted
from swarmshd.workqueue.rows import place_in

PIECE_BYTES = 64 << 10
"""Bytes of events after which a piece is written."""

SILENT = 20_000
"""Events after which the position is told, although nothing was found."""

NEEDLES_MAX = 64
"""Most ids that are looked for in the bytes of a batch before it is decoded."""

Piece = tuple[int, int, bytes]


class Declined(Exception):
    """The journal holds what this program does not know; the text says what."""


class Wish:
    """What is to be told; see the module's text."""

    def __init__(self, wish: dict[str, Any]) -> None:
        ids = wish["ids"]
        self.wanted = Wanted(
            None if ids is None else frozenset(ids),
            frozenset(wish["queues"]),
            frozenset(wish["types"]),
            wish["group"],
            wish["locks"],
        )
        for known in (told.EVERYTHING, told.WORK):
            if self.wanted == known:
                self.wanted = known
        self.since: int = wish["since"]
        self.upto: int = wish["upto"]
        self.piece: int = wish["piece"]
        self.oldest: bool = wish["oldest"]
        self.at: int = wish["at"] or 0
        self.places: dict[int, Place] | None = None
        if wish["places"] is not None:
            self.places = {number: Place(*place) for number, *place in wish["places"]}

    def needles(self) -> list[bytes]:
        """The bytes one of which is in every batch that may be of interest; none if that cannot be told."""
        ids = self.wanted.ids
        return [cbor2.dumps(number) for number in ids] if ids is not None and len(ids) <= NEEDLES_MAX else []


def tell(past: journal.Past, wish: Wish, since: int) -> Iterator[Piece]:
    """The events after ``since`` in pieces. Raises Declined, and what reading the journal raises."""
    known = Gazetteer(wish.places or {})
    begin = since if wish.places is not None else _learn_places(past, known, since)
    needles = wish.needles() if wish.places is not None else []
    gathered = _Gathered(wish.piece)
    for batch in past.batches(begin):
        if needles and not any(needle in batch.body for needle in needles):
            yield from gathered.reach(batch.position + batch.event_count, batch.event_count)
            continue
        for position, time, happened in _events(batch):
            if position > wish.upto:
                break
            known.learn(happened[2])
            if position > since and time >= wish.at:
                yield from gathered.add(position, told.tell(position, time, happened, known.get, wish.wanted))
            known.unlearn(happened[2])
    yield gathered.rest(wish.upto)


def _events(batch: journal.Batch) -> Iterator[tuple[int, int, told.Happened]]:
    """Position, time and event of each in the batch."""
    try:
        decoded = events.decode_batch(batch.body, batch.position)
    except ValueError as unknown:  # the CRCs are right, so another program wrote it
        raise Declined(f"the journal holds what this program does not know: {unknown}") from None
    position = batch.position
    for entry, event in events.flatten(decoded):
        position += 1
        yield position, decoded.time, (entry.uid, entry.pid, event)


def _learn_places(past: journal.Past, known: Gazetteer, since: int) -> int:
    """Learn where items belonged at that position, as far as it can be known.

    From a snapshot before it, or, if there is none, from a later one for what was there before the oldest event.

    Returns:
        the position from which on events must be followed.
    """
    snapshots = past.snapshots()
    before = [position for position in snapshots if past.oldest <= position <= since]
    for chunk in past.chunks((before[-1:] or snapshots[:1])[0]) if snapshots else ():
        for row in events.decode_rows(chunk):
            found = place_in(row)
            if found is not None:
                known[found[0]] = Place(*found[1:])
    return before[-1] if before else past.oldest


class _Gathered:
    """The piece that is being filled."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: list[bytes] = []
        self._size = self._silent = 0

    def add(self, position: int, event: told.Told | None) -> Iterator[Piece]:
        """Take the event of this position, if it is told; a piece that is full with it."""
        if event is not None:
            row = cbor2.dumps(event)
            self._rows.append(row)
            self._size += len(row)
        yield from self.reach(position, 1)

    def reach(self, position: int, count: int) -> Iterator[Piece]:
        """So many events lie behind, up to this position."""
        self._silent += count
        if len(self._rows) >= self._most or self._size >= PIECE_BYTES or self._silent >= SILENT:
            yield self.rest(position)

    def rest(self, position: int) -> Piece:
        """What there is."""
        piece = len(self._rows), position, b"".join(self._rows)
        self._rows, self._size, self._silent = [], 0, 0
        return piece


def write(output: BinaryIO, row: Any) -> None:
    """One frame."""
    output.write(frame(cbor2.dumps(row)))


def run(directory: Path, wish: Wish, output: BinaryIO) -> None:
    """Tell what is wished for."""
    past = journal.Past(directory, wish.upto)
    since = max(wish.since, past.oldest) if wish.oldest else wish.since
    known = wish.oldest or past.knows(since)
    write(output, [past.oldest, known])
    if known:
        for piece in tell(past, wish, since):
            write(output, piece)
            output.flush()
    output.flush()


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="swarmshd.history", description="Tell what the journal holds of the past.")
    parser.add_argument("--directory", type=Path, required=True, help="the directory of the journal")
    parser.add_argument("--format", type=int, required=True, help="the format that the daemon reads")
    parser.add_argument("--parent", type=int, default=os.getppid(), help="the process to end with")
    return parser.parse_args()


def main() -> int:
    """Tell what standard input wishes; return the exit status."""
    options = arguments()
    beside.settle(options.parent)
    try:
        if options.format != events.FORMAT:
            raise Declined(f"the daemon reads format {options.format}, this program {events.FORMAT}: restart it")
        run(options.directory, Wish(json.load(sys.stdin.buffer)), sys.stdout.buffer)
    except journal.Gone as error:
        return beside.fail("history", error, beside.GONE)
    except (journal.JournalError, Declined) as error:
        return beside.fail("history", error, 78)
    except OSError as error:
        return beside.fail("history", error, 74)
    return 0


if __name__ == "__main__":
    sys.exit(main())
