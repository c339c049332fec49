"""Reads one segment frame by frame, and judges damage: unfinished last write, or corruption.

A crash leaves the frames that were synced, and of those that were not any part: sectors of them still zero, the
file cut. So a sound journal is followed by anything, as long as nothing says that it had been durable. Three
things say so, and make damage corruption:

- a later frame of the same segment states a durable position past the events where the damage begins (or, where
  the damaged frames held no event, states that position itself: such a frame is synced before anything follows it);
- a later segment exists (it is made only when all before it is durable and sealed), or a snapshot covers more;
- the bytes cannot come from an unfinished write: a frame header that has its magic and no missing byte, word or
  end, but a bad CRC; a sound header with a position that does not follow; anything after a seal.

All else is a torn tail. Only the last batch before a crash is therefore undecidable, and is cut with evidence.
"""

from collections.abc import Iterator
from typing import NamedTuple

from swarmshd import records


class Damage(NamedTuple):
    """Where a segment stops being sound.

    `end` is the position after the damaged frame, if its header is sound. `resume` is where later frames are
    looked for. `certain` says that no unfinished write looks like this.
    """

    offset: int
    why: str
    resume: int
    end: int | None = None
    certain: bool = False


class Scan:
    """The frames of one segment, from its bytes. Iterate it once; then its attributes hold what was found.

    `position` is where the last sound frame ends, `last` its header, `stop` the byte after it, `offset` where the
    next one belongs; `damage` says why it stopped before the zeroes, if it did. From `loose` on no frame is stated to
    be durable by a later one.
    """

    __slots__ = ("damage", "data", "last", "loose", "offset", "position", "salt", "stop")

    def __init__(self, data: bytes, header: records.SegmentHeader) -> None:
        self.data = data
        self.salt = header.salt
        self.position = header.start
        self.offset = self.stop = self.loose = records.SECTOR
        self.last: records.FrameHeader | None = None
        self.damage: Damage | None = None

    @property
    def sealed(self) -> bool:
        """Whether the last sound frame is a seal."""
        return self.last is not None and self.last.kind == records.SEAL

    @property
    def clean(self) -> bool:
        """Whether the last frame says that everything is durable, and nothing is behind it."""
        last = self.last
        stated = last is not None and last.kind != records.BATCH and last.durable == self.position
        return stated and self.damage is None

    def __iter__(self) -> Iterator[tuple[int, records.FrameHeader]]:
        """Every sound frame as (offset, header).

        Raises:
            records.UnknownFormat: a frame is of a newer format.
        """
        data, salt = self.data, self.salt
        view = memoryview(data)
        while not self.sealed:
            at = self.offset
            try:
                header = records.unpack_frame_header(data, at, salt)
            except records.Unsound as unsound:
                self.damage = self._unsound(str(unsound))
                return
            if header.start != self.position:
                why = f"a frame starts at position {header.start} where {self.position} must follow"
                self.damage = Damage(at, why, len(data), certain=True)
                return
            stop = at + records.frame_size(header.length)
            if not records.body_is_sound(view, at, header):
                missing = stop > len(data)
                why = "a frame is cut short" if missing else "the CRC of a frame's body does not match"
                self.damage = Damage(at, why, stop, header.end)
                return
            if header.durable >= header.start:
                self.loose = at
            self.position = header.end
            self.stop = stop
            self.offset = records.frame_offset(stop)
            self.last = header
            yield at, header
        if any_byte(data, self.stop):
            self.damage = Damage(self.stop, "there are bytes after the seal", len(data), certain=True)

    def _unsound(self, why: str) -> Damage | None:
        """What an unsound header means; None for the zeroes that end every segment."""
        data, at = self.data, self.offset
        if not any_byte(data, at):
            return None
        if not any(data[at : at + records.FRAME_HEADER_SIZE]):
            why = "there are zeroes where a frame must be, and bytes behind them"
        certain = not records.header_may_be_torn(data, at)
        return Damage(at, why, at + records.ALIGNMENT, certain=certain)

    def was_durable(self, stated: int) -> bool:
        """Whether what is damaged had been durable, so that the damage is corruption and no torn tail.

        Args:
            stated: the highest durable position that other files state.
        """
        damage = self.damage
        if damage is None:
            return False
        if damage.certain or stated > self.position:
            return True
        end = damage.end
        found = records.find_frame(self.data, damage.resume, self.salt)
        while found is not None:
            at, header = found
            end = header.start if end is None else end
            if header.durable > self.position or header.durable >= end:
                return True
            found = records.find_frame(self.data, at + records.ALIGNMENT, self.salt)
        return False


def any_byte(data: bytes, offset: int) -> bool:
    """Whether a byte from ``offset`` on is not zero."""
    rest = data[offset:]
    return rest != bytes(len(rest))
