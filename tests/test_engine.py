"""The engine without sockets: rounds, gated replies, numbers across crashes, what a start finds.

The journal is a real one in a temporary directory; the clock is an argument; a client is an object that keeps
the replies it got.
"""

import errno
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cbor2
import pytest

from swarmshd import commands, configuration
from swarmshd.commands import Actor
from swarmshd.engine import Client, Delivery, Engine, Started, deciding, numbers, start
from swarmshd.engine import engine as engine_module
from swarmshd.engine.numbers import BLOCK
from swarmshd.engine.space import ROOM_MIN
from swarmshd.journal import Full, Journal, JournalFailed
from swarmshd.journal.disk import DISK

NOW = 1_800_000_000_000
HOUR = 3_600_000
ALL = frozenset(("read", "work", "admin"))


class Peer(Client):
    """A client that keeps what it is sent."""

    def __init__(self, uid: int = 0, classes: frozenset[str] = ALL) -> None:
        super().__init__(Actor(uid, 4711, admin="admin" in classes), classes)
        self.replies: list[list[Any]] = []

    def send(self, frame: bytes, deliveries: Sequence[Delivery] = ()) -> None:
        self.owed -= len(frame)
        self.replies.append(cbor2.loads(frame[4:]))


def begin(
    directory: Path,
    *settings: str,
    wall: int = NOW,
    boot: str = "boot-1",
    adopt: Callable[[int, int], str] = lambda _pid, _inode: "dead",
) -> Started:
    return start(directory, configuration.resolve(None, {}, settings), wall, boot, adopt)


def take(
    engine: Engine, peer: Peer, number: int, verb: str, watches: Sequence[tuple[int, int]] = (), **arguments: Any
) -> None:
    request = commands.structure(verb, arguments, peer.actor.uid)
    engine.take(peer, number, request, tuple(watches), 100, engine.queue.desk.now)


def turn(engine: Engine, now: int | None = None) -> None:
    """One whole turn: decide, write, sync, reply."""
    now = engine.queue.desk.now if now is None else now
    engine.advance(now)
    engine.commit()
    if engine.waiting_to_decide:  # for the numbers that were reserved just now
        engine.advance(now)
        engine.commit()
    engine.follow(now)


def ask(
    engine: Engine, verb: str, watches: Sequence[tuple[int, int]] = (), peer: Peer | None = None, **arguments: Any
) -> Any:
    """One request to its reply: the result, or ``(code, facts)``."""
    peer = peer or Peer()
    take(engine, peer, 1, verb, watches, **arguments)
    turn(engine)
    _, code, result = peer.replies[-1]
    return result if code == 0 else (code, result)


def crash(engine: Engine, directory: Path) -> Path:
    """The files as a killed daemon leaves them."""
    left = directory.with_name(directory.name + "x")
    shutil.copytree(directory, left)
    engine.journal.close()
    return left


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_law_replies_do_not_lie_no_reply_leaves_before_its_sync(place: Path) -> None:
    engine = begin(place).engine
    writer, reader = Peer(), Peer()
    take(engine, writer, 7, "submit", type="t", description="d")
    take(engine, reader, 8, "show", id=1)
    take(engine, reader, 9, "submit", type="t", description="d", after=[77])
    engine.advance(NOW)
    assert engine.write()
    assert writer.replies == []
    assert reader.replies == [], "neither a read of the new item nor a refusal decided after it"
    take(engine, reader, 10, "count")
    engine.advance(NOW)
    assert reader.replies == [], "a read waits for the state that it saw, although it changes nothing"
    engine.sync()
    assert writer.replies == [], "the sync alone releases nothing: the owner of the loop says when"
    engine.durable()
    assert writer.replies == [[7, 0, {"id": 1, "created": True}]]
    assert [reply[0] for reply in reader.replies] == [8, 9, 10]
    assert reader.replies[1][1] == "not_found"
    take(engine, reader, 11, "count")
    engine.advance(NOW)
    assert reader.replies[-1] == [11, 0, {"count": 1}], "with nothing in flight a read is answered at once"


def test_one_batch_is_unsynced_at_a_time_and_the_next_round_gathers(place: Path) -> None:
    engine = begin(place).engine
    peer = Peer()
    take(engine, peer, 1, "submit", type="t", description="d")
    engine.advance(NOW)
    assert engine.write()
    for number in (2, 3):
        take(engine, peer, number, "submit", type="t", description="d")
    engine.advance(NOW)
    assert not engine.write(), "the batch before is not durable"
    engine.sync()
    engine.durable()
    assert [reply[0] for reply in peer.replies] == [1]
    batches = engine.commits.batches
    assert engine.write()
    engine.sync()
    engine.durable()
    assert [reply[0] for reply in peer.replies] == [1, 2, 3]
    assert engine.commits.batches == batches + 1, "both went in one batch"


def test_a_round_is_closed_between_commands_and_what_is_left_is_refused_in_time(place: Path) -> None:
    engine = begin(place, "BATCH_SIZE=2", "BATCH_TIMEOUT=1000").engine
    peer = Peer()
    for number in range(1, 6):
        take(engine, peer, number, "submit", type="t", description="d")
    engine.advance(NOW)
    assert engine.waiting_to_decide
    assert len(engine.queue.tables.items) == 2
    engine.advance(NOW + 1001)
    turn(engine, NOW + 1001)
    assert [(reply[0], reply[1]) for reply in peer.replies] == [
        (1, 0), (2, 0), (3, "commit_timeout"), (4, "commit_timeout"), (5, "commit_timeout"),
    ]  # fmt: skip
    assert len(engine.queue.tables.items) == 2, "nothing happened of those"


def test_a_refused_command_writes_nothing(place: Path) -> None:
    engine = begin(place).engine
    before = engine.journal.end
    assert ask(engine, "complete", id=5, agent="a")[0] == "not_found"
    assert ask(engine, "claim", agent="a")[0] == "empty"
    assert engine.journal.end == before


def test_reads_and_refusals_fill_no_round(place: Path) -> None:
    engine = begin(place, "BATCH_SIZE=10").engine
    for _ in range(25):
        assert ask(engine, "count") == {"count": 0}
        assert ask(engine, "show", id=1)[0] == "not_found"
    assert ask(engine, "submit", type="t", description="d")["id"] == 1


def test_numbers_are_never_handed_out_twice(place: Path) -> None:
    engine = begin(place).engine
    assert ask(engine, "submit", type="t", description="d")["id"] == 1
    assert ask(engine, "claim", agent="a")["items"][0]["fence"] == 1
    killed = crash(engine, place)
    started = begin(killed)
    assert started.engine.queue.tables.epoch == 2
    first = ask(started.engine, "submit", type="t", description="d")["id"]
    assert first >= BLOCK, "how far the lost part had come cannot be known"
    assert ask(started.engine, "claim", agent="b", id=first)["items"][0]["fence"] >= BLOCK
    position = started.engine.journal.end
    assert position >= BLOCK
    started.engine.close(NOW + 5)
    again = begin(killed, wall=NOW + 10)
    assert again.clean
    assert ask(again.engine, "submit", type="t", description="d")["id"] == first + 1, "a clean stop skips nothing"


def test_blocks_are_reserved_ahead_and_counted_only_when_durable(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "BLOCK", 100)
    monkeypatch.setattr(numbers, "AHEAD", 200)
    engine = begin(place).engine
    line = ["submit", {"type": "t", "description": "d"}]
    made = 0
    while made < 1000:
        replies = ask(engine, "batch", commands=[line] * 90)["replies"]
        assert all(code == 0 for code, _ in replies)
        made += len(replies)
        tables = engine.queue.tables
        assert tables.next_id <= tables.ids_end
        assert tables.position <= tables.positions_end
    assert engine.queue.tables.next_id == made + 1


def test_a_batch_that_would_take_more_than_is_reserved_is_cut(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "BLOCK", 100)
    monkeypatch.setattr(numbers, "AHEAD", 200)
    engine = begin(place, "BATCH_SIZE=50").engine
    for _ in range(20):
        ask(engine, "batch", commands=[["submit", {"type": "t", "description": "d", "group": "g"}]] * 50)
    replies = ask(engine, "batch", commands=[["cancel", {"group": "g"}]] * 20)["replies"]
    cancelled = sum(result["cancelled"] for code, result in replies if code == 0)
    assert 100 <= cancelled < 1000
    assert [code for code, _ in replies[-2:]] == ["too_large"] * 2
    assert engine.queue.tables.position <= engine.queue.tables.positions_end
    assert ask(engine, "count")["count"] == 1000 - cancelled


def test_a_round_ends_when_deciding_takes_long(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = begin(place).engine
    ask(engine, "submit", type="t", description="d")
    monkeypatch.setattr(engine_module, "ROUND_NS", 0)
    peer = Peer()
    for number in range(3):
        take(engine, peer, number, "submit", type="t", description="d")
    for number in range(3):
        assert engine.waiting_to_decide
        engine.advance(engine.queue.desk.now)
        engine.commit()
        assert [reply[0] for reply in peer.replies] == list(range(number + 1)), "one at a time, but each"
    assert not engine.waiting_to_decide
    assert engine.commits.closed["time"] == 2


def test_a_batch_that_takes_too_long_is_cut(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = begin(place).engine
    monkeypatch.setattr(deciding, "BATCH_NS", 0)
    line = ["submit", {"type": "t", "description": "d"}]
    replies = ask(engine, "batch", commands=[line] * 3)["replies"]
    assert [(code, facts["retryable"]) for code, facts in replies] == [("busy", True)] * 3
    assert ask(engine, "count") == {"count": 0}


@pytest.mark.parametrize("verb", ["submit", "claim", "complete"])
def test_a_keyed_change_is_answered_the_same_after_a_crash(place: Path, verb: str) -> None:
    engine = begin(place).engine
    token = None
    if verb != "submit":
        ask(engine, "submit", type="t", description="d")
    if verb == "complete":
        token = ask(engine, "claim", agent="a")["items"][0]["token"]
    every: dict[str, dict[str, Any]] = {
        "submit": {"type": "t", "description": "d"},
        "claim": {"agent": "a"},
        "complete": {"id": 1, "token": token, "note": "fine"},
    }
    arguments = every[verb]
    reply = ask(engine, verb, key="k", **arguments)
    assert ask(engine, verb, key="k", **arguments) == reply
    started = begin(crash(engine, place))
    again = ask(started.engine, verb, key="k", **arguments)
    assert again == reply
    assert len(started.engine.queue.tables.items) == 1
    changed = {**arguments, ("note" if verb == "complete" else "description" if verb == "submit" else "agent"): "other"}
    assert ask(started.engine, verb, key="k", **changed)[0] == "conflict"


def test_leases_are_moved_by_the_downtime(place: Path) -> None:
    engine = begin(place).engine
    ask(engine, "submit", type="t", description="d")
    until = ask(engine, "claim", agent="a")["items"][0]["expires_at"]
    engine.close(NOW + 1000)
    hour = 3_600_000
    started = begin(place, wall=NOW + 1000 + hour)
    shown = ask(started.engine, "show", id=1)
    assert shown["state"] == "claimed"
    assert shown["lease_until"] == until + hour


def test_time_does_not_go_back_at_a_start(place: Path) -> None:
    engine = begin(place).engine
    ask(engine, "submit", type="t", description="d")
    engine.close(NOW + 1000)
    started = begin(place, wall=NOW - 86_400_000)
    assert started.engine.queue.desk.now == NOW + 1000


def test_a_lease_that_ends_soon_after_a_leap_is_nobodys_fault(place: Path) -> None:
    engine = begin(place).engine
    ask(engine, "submit", type="t", description="d")
    ask(engine, "claim", agent="a")
    engine.shift_clock(NOW + 60_000, 60_000)
    turn(engine, NOW + 60_000)
    turn(engine, NOW + 60_000 + 300_001)
    shown = ask(engine, "show", id=1)
    assert (shown["state"], shown["crashes"]) == ("ready", 0)


def test_another_boot_frees_every_claim_and_counts_nothing(place: Path) -> None:
    engine = begin(place).engine
    for _ in range(3):
        ask(engine, "submit", type="t", description="d")
    ask(engine, "claim", agent="a", count=2)
    ask(engine, "claim", agent="b", watch=True, watches=[(99, 5)])
    started = begin(crash(engine, place), boot="boot-2")
    for number in (1, 2, 3):
        shown = ask(started.engine, "show", id=number)
        assert (shown["state"], shown["crashes"], shown["failures"]) == ("ready", 0, 0)


@pytest.mark.parametrize(("found", "state"), [("alive", "claimed"), ("dead", "ready"), ("unknown", "claimed")])
def test_watched_processes_across_a_restart(place: Path, found: str, state: str) -> None:
    engine = begin(place).engine
    ask(engine, "submit", type="t", description="d")
    ask(engine, "claim", agent="a", watch=True, watches=[(99, 5)])
    started = begin(crash(engine, place), adopt=lambda pid, inode: found if (pid, inode) == (99, 5) else "dead")
    shown = ask(started.engine, "show", id=1)
    assert (shown["state"], shown["crashes"]) == (state, 0)
    assert shown.get("watching") == (99 if found == "alive" else None)
    if found == "unknown":
        assert shown["lease_until"] == NOW + 300_000, "its lease decides"
    if found == "alive":
        started.engine.died((99, 5))
        turn(started.engine)
        shown = ask(started.engine, "show", id=1)
        assert (shown["state"], shown["crashes"]) == ("ready", 1)


def test_recovery_gives_the_same_rows(place: Path) -> None:
    engine = begin(place).engine
    ask(engine, "submit", type="t", description="d", ref="r", group="g", unique="u")
    ask(engine, "submit", type="t", description="d", after=["r"], on_failure="cancel", key="k")
    ask(engine, "claim", agent="a")
    ask(engine, "progress", id=1, agent="a", percent=30, checkpoint=b"half")
    ask(engine, "cancel", id=1, reason="no")
    rows = list(engine.queue.tables.rows())
    killed = crash(engine, place)
    started = begin(killed)
    later = list(started.engine.queue.tables.rows())
    assert cbor2.dumps(later[1:]) == cbor2.dumps(rows[1:]), "all but the row of positions and epochs"


def test_a_class_that_the_peer_has_not_is_denied_inside_a_batch_too(place: Path) -> None:
    engine = begin(place).engine
    reader = Peer(1000, frozenset(("read",)))
    assert ask(engine, "submit", peer=reader, type="t", description="d")[0] == "denied"
    worker = Peer(1000, frozenset(("read", "work")))
    replies = ask(
        engine, "batch", peer=worker,
        commands=[["submit", {"type": "t", "description": "d"}], ["queue_set", {"queue": "default", "closed": True}]],
    )["replies"]  # fmt: skip
    assert [code for code, _ in replies] == [0, "denied"]


def test_draining_sends_waiters_away_and_refuses_changes(place: Path) -> None:
    engine = begin(place).engine
    waiting = Peer()
    take(engine, waiting, 1, "claim", agent="a", wait=10_000)
    turn(engine)
    assert waiting.replies == []
    engine.drain()
    turn(engine)
    assert waiting.replies[0][1] == "draining"
    assert ask(engine, "submit", type="t", description="d")[0] == "draining"
    assert ask(engine, "count") == {"count": 0}
    assert engine.idle


def test_relaxed_progress_is_answered_at_once_and_recorded_together(place: Path) -> None:
    engine = begin(place).engine
    ask(engine, "submit", type="t", description="d")
    token = ask(engine, "claim", agent="a")["items"][0]["token"]
    before = engine.journal.end
    for percent in range(50):
        reply = ask(engine, "progress", id=1, percent=percent, relaxed=True, token=token)
        assert reply == {"id": 1, "queued": True, "fenced": "token"}
    ask(engine, "progress", id=1, message="on", relaxed=True, token=token)
    assert engine.journal.end == before, "nothing is written for each"
    assert ask(engine, "status")["relaxed"] == 1
    assert ask(engine, "progress", id=1, percent=1, relaxed=True, token="1.0000000000000000")[0] == "lease_lost"
    due = engine.next_deadline()
    assert due == NOW + 5000
    turn(engine, due)
    assert engine.journal.end == before + 1, "and one event for all"
    shown = ask(engine, "show", id=1)
    assert (shown["percent"], shown["message"]) == (49, "on")
    ask(engine, "progress", id=1, percent=99, relaxed=True, token=token)
    assert ask(engine, "complete", id=1, token=token)["state"] == "done"
    turn(engine, due + 5001)
    assert ask(engine, "show", id=1)["percent"] == 49, "what ended meanwhile ended without it"
    ask(engine, "submit", type="t", description="d")
    ask(engine, "claim", agent="a")
    ask(engine, "progress", id=2, percent=7, relaxed=True, agent="a")
    engine.close(due + 6000)
    assert ask(begin(place, wall=due + 6000).engine, "show", id=2)["percent"] == 7, "a stop records what waits"


def test_a_full_disk_refuses_new_work_and_lets_work_be_finished(place: Path) -> None:
    engine = begin(place).engine
    ask(engine, "submit", type="t", description="d")
    engine.space.full = Full(place, 4096)
    assert ask(engine, "submit", type="t", description="d")[0] == "disk_full"
    assert ask(engine, "claim", agent="a")["items"][0]["id"] == 1
    assert ask(engine, "complete", id=1, agent="a")["state"] == "done"


def test_where_not_even_finishing_finds_room_nothing_is_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the daemon itself either: it would end for want of room, and not find any to start."""
    engine = begin(place, "RETAIN_DONE=1h").engine
    ask(engine, "submit", type="t", description="d")
    ask(engine, "cancel", id=1)
    monkeypatch.setattr(Journal, "last_free", property(lambda _: 1000))
    engine.space.full = Full(place, 4096)
    turn(engine, NOW + 2 * HOUR)
    assert (engine.journal.end, engine.has_round) == (engine.queue.tables.position, False)
    assert ask(engine, "show", id=1)["state"] == "cancelled"
    assert (engine.next_deadline() or 0) > NOW + 2 * HOUR
    engine.space.full = None
    turn(engine, NOW + 3 * HOUR)
    assert ask(engine, "show", id=1)[0] == "not_found"


def test_who_waits_gets_nothing_while_only_finishing_goes_on(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = begin(place).engine
    ask(engine, "submit", type="t", description="d")
    ask(engine, "claim", agent="a")
    claims, waits = Peer(), Peer()
    take(engine, claims, 1, "claim", agent="b", wait=HOUR)
    take(engine, waits, 1, "wait", ids=[1], timeout=HOUR)
    turn(engine)
    monkeypatch.setattr(Journal, "last_free", property(lambda _: ROOM_MIN + 100_000))
    engine.space.full = Full(place, 4096)
    relaxed = ask(engine, "progress", id=1, agent="a", percent=5, relaxed=True)
    assert "queued" not in relaxed, "what is to be written later may find no room then"
    ask(engine, "release", id=1, agent="a")
    assert (claims.replies, ask(engine, "show", id=1)["state"]) == ([], "ready")
    ask(engine, "cancel", id=1)
    assert waits.replies[0][2]["pending"] == 0
    engine.space.full = None
    ask(engine, "submit", type="t", description="d")
    assert claims.replies[0][2]["items"][0]["id"] == 2


class BrokenDisk:
    """The disk, but a sync fails."""

    def __getattr__(self, name: str) -> Any:
        return getattr(DISK, name)

    @staticmethod
    def fdatasync(_fd: int) -> None:
        raise OSError(errno.EIO, "input/output error")


def test_law_acknowledged_is_durable_after_a_failed_sync_nothing_is_answered(place: Path) -> None:
    engine = begin(place).engine
    engine.journal._disk = BrokenDisk()  # type: ignore[assignment]
    peer = Peer()
    take(engine, peer, 1, "submit", type="t", description="d")
    engine.advance(NOW)
    assert engine.write()
    with pytest.raises(JournalFailed):
        engine.sync()
    assert peer.replies == []
    with pytest.raises(JournalFailed):
        engine.sync()


def test_a_start_tells_how_far_it_is(place: Path) -> None:
    """So that a service manager sees that a long journal is being read, and waits."""
    engine = begin(place).engine
    for _ in range(400):
        ask(engine, "submit", type="t", description="d", payload=bytes(50_000))
    engine.close(NOW)
    told: list[tuple[int, int]] = []
    again = start(
        place,
        configuration.resolve(None, {}, []),
        NOW,
        "boot-1",
        lambda _pid, _inode: "dead",
        lambda done, size: told.append((done, size)),
    )
    again.engine.journal.close()
    assert len(told) >= 4
    assert told == sorted(told)
    assert all(0 < done <= size for done, size in told)
