"""Looking back: the program that reads the past, and the carrier that makes pages of it, with a real engine."""

import io
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cbor2
import pytest
import trio

from swarmshd import commands, history
from swarmshd import events as e
from swarmshd.carrier import Carrier, past
from swarmshd.engine import Engine
from swarmshd.engine.errands import ERRANDS_MAX, KEPT_FOR_ADMINS
from swarmshd.journal import Terms
from swarmshd.keeper import Keeper
from swarmshd.liveness import Watches
from swarmshd.protocol import Decoder
from tests.conftest import PATIENCE, ROOT
from tests.test_engine import NOW, Peer, ask, begin, crash, take, turn
from tests.test_following import WISH, every, put, take_and_give_back

pytestmark = pytest.mark.slow

SMALL = ("WATCH_RING=64K", "JOURNAL_ROTATION_MB=1")


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No page ends because this machine is busy, and no process because nobody came to ask it again."""
    monkeypatch.setattr(past, "PAGE_SECONDS", PATIENCE)
    monkeypatch.setattr(past, "IDLE_SECONDS", PATIENCE)


def wish(since: int, upto: int, **more: Any) -> history.Wish:
    asked: dict[str, Any] = {
        "ids": None,
        "queues": [],
        "types": [],
        "group": None,
        "locks": True,
        "piece": 7,
        "oldest": False,
        "at": None,
        "places": None,
    }
    return history.Wish({"since": since, "upto": upto, **asked, **more})


def told(directory: Path, wished: history.Wish) -> tuple[list[Any], list[dict[str, Any]], int]:
    """What the program says first, the events that it tells, and the position that it reaches."""
    output = io.BytesIO()
    history.run(directory, wished, output)
    first, *pieces = [cbor2.loads(body) for body in Decoder(1 << 30).feed(output.getvalue())]
    rows = []
    position = wished.since
    for count, reached, data in pieces:
        source = io.BytesIO(data)
        found = [cbor2.CBORDecoder(source).decode() for _ in range(count)]
        assert source.tell() == len(data)
        assert all(position < row["position"] <= reached for row in found)
        position = reached
        rows += found
    return first, rows, position


def life(engine: Engine) -> None:
    """Some of everything, in queues, types and groups."""
    for n in range(3):
        put(engine, 20, queue=f"q{n}", group=f"g{n}")
    put(engine, 5, delay=1000, type="u")
    (first, second) = put(engine, 2, queue="q0")
    ask(engine, "submit", **WISH, after=[first], ref="late", on_failure="cancel")
    ask(engine, "register", agent="a", labels=["gpu"], slots=9)
    held = ask(engine, "claim", agent="a", queue="*", count=8)["items"]
    ask(engine, "progress", id=held[0]["id"], agent="a", percent=5, checkpoint=b"c" * 9)
    ask(engine, "complete", id=held[0]["id"], agent="a", output=b"o" * 99)
    ask(engine, "fail", id=held[1]["id"], agent="a", reason="why", no_retry=True)
    ask(engine, "release", id=held[2]["id"], agent="a")
    ask(engine, "cancel", id=first)
    ask(engine, "kick", id=held[1]["id"])
    ask(engine, "queue_set", queue="q1", limit=5)
    ask(engine, "pause", all=True)
    ask(engine, "resume", all=True)
    turn(engine, engine.queue.desk.now + 2000)
    assert second


def fold(engine: Engine, directory: Path, *, keep: bool = True) -> None:
    """Everything so far goes into a snapshot."""
    engine.journal.turn()
    command = [sys.executable, "-m", "swarmshd.compact", "--directory", str(directory)]
    command += ["--upto", str(engine.journal.durable), "--format", str(e.FORMAT)]
    done = subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    engine.journal.prune(json.loads(done.stdout)["position"], keep=keep)


# -- the program ---------------------------------------------------------------------------------------


def test_what_is_read_is_what_was_told_when_it_happened(tmp_path):
    """From the files, across a fold and an archive, the same events come as from the ring."""
    engine = begin(tmp_path).engine
    life(engine)
    middle = engine.journal.durable
    fold(engine, tmp_path)
    life(engine)
    end = engine.journal.durable
    live = every(engine, 1)
    for since in (1, 30, middle, end - 3, end):
        first, rows, reached = told(tmp_path, wish(since, end))
        assert first == [0, True]
        assert rows == [row for row in live if row["position"] > since]
        assert reached == end
    filters: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"queues": ["q0", "q2"]}, {"queue": ["q0", "q2"]}),
        ({"types": ["u"]}, {"type": ["u"]}),
        ({"group": "g1"}, {"group": "g1"}),
        ({"ids": [1, 40]}, {"ids": [1, 40]}),
        ({"ids": [1, 40], "queues": ["q0"]}, {"ids": [1, 40], "queue": ["q0"]}),
    ]
    for ours, wires in filters:
        found = told(tmp_path, wish(1, end, **ours))[1]
        assert found == every(engine, 1, **wires)
        assert found
    assert told(tmp_path, wish(1, middle))[1] == [row for row in live if row["position"] <= middle]


def test_the_history_of_an_item_is_found_without_a_look_at_all_others(tmp_path, monkeypatch):
    engine = begin(tmp_path).engine
    numbers = [number for _ in range(30) for number in put(engine, 20)]
    wanted = numbers[-1]
    ask(engine, "claim", agent="a", id=wanted)
    ask(engine, "complete", id=wanted, agent="a")
    end = engine.journal.durable
    decoded = []
    decode = e.decode_batch

    def counted(body: bytes, position: int) -> e.Batch:
        decoded.append(position)
        return decode(body, position)

    monkeypatch.setattr(e, "decode_batch", counted)
    place = ["default", "t", None]
    _, rows, _ = told(tmp_path, wish(0, end, ids=[wanted], places=[[wanted, *place]], oldest=True))
    assert [row["event"] for row in rows] == ["submitted", "claimed", "completed"]
    assert {(row["queue"], row["type"]) for row in rows} == {("default", "t")}
    assert len(decoded) < 10


def test_items_that_are_forgotten_are_still_of_their_queue(tmp_path):
    """Whether they were submitted before the position or after it, and whatever the snapshots say."""
    engine = begin(tmp_path, "RETAIN_DONE_ITEMS=0").engine
    early = put(engine, 2, queue="q")
    engine.journal.turn()
    middle = engine.journal.durable
    late = put(engine, 2, queue="q")
    put(engine, 3, queue="other")
    for item in ask(engine, "claim", agent="a", queue=["q"], count=9)["items"]:
        ask(engine, "complete", id=item["id"], token=item["token"])
    turn(engine)
    fold(engine, tmp_path)
    assert not {*early, *late} & engine.queue.tables.items.keys()
    _, rows, _ = told(tmp_path, wish(middle, engine.journal.durable, queues=["q"]))
    found = [(row["event"], row.get("id")) for row in rows if row["event"] != "forgotten"]
    assert found == [
        *[("submitted", number) for number in late],
        *[("claimed", number) for number in early + late],
        *[("completed", number) for number in early + late],
    ]
    assert sorted(n for row in rows if row["event"] == "forgotten" for n in row["ids"]) == early + late


def test_whoever_reads_learns_how_far_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "SILENT", 50)
    engine = begin(tmp_path).engine
    for _ in range(10):
        put(engine, 20)
    output = io.BytesIO()
    history.run(tmp_path, wish(0, engine.journal.durable, queues=["nothing"]), output)
    _, *pieces = [cbor2.loads(body) for body in Decoder(1 << 30).feed(output.getvalue())]
    assert len(pieces) >= 4
    assert {count for count, *_ in pieces} == {0}
    assert pieces[-1][1] == engine.journal.durable


def test_a_position_that_is_not_there_is_said(tmp_path):
    engine = begin(tmp_path).engine
    put(engine)
    last = engine.journal.durable
    fold(engine, tmp_path, keep=False)
    put(engine, 3)
    assert told(tmp_path, wish(last - 1, engine.journal.durable)) == ([last, False], [], last - 1)
    first, rows, _ = told(tmp_path, wish(0, engine.journal.durable, oldest=True))
    assert first == [last, True]
    assert [row["event"] for row in rows] == ["submitted"] * 3


def run(directory: Path, wished: str, *more: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "swarmshd.history", "--directory", str(directory), *more]
    return subprocess.run(command, input=wished.encode(), capture_output=True, check=False, cwd=ROOT, timeout=PATIENCE)


WISHED: dict[str, Any] = {
    "since": 0,
    "upto": 2,
    "piece": 9,
    "ids": None,
    "queues": [],
    "types": [],
    "group": None,
    "locks": True,
    "oldest": True,
    "at": None,
}


def test_the_program_says_in_one_line_why_it_tells_nothing_more(tmp_path):
    engine = begin(tmp_path).engine
    put(engine)
    wished = json.dumps(WISHED | {"places": None})
    good = run(tmp_path, wished, "--format", str(e.FORMAT))
    assert (good.returncode, good.stderr) == (0, b"")
    other = run(tmp_path, wished, "--format", "99")
    assert (other.returncode, other.stdout) == (78, b"")
    assert b"restart it" in other.stderr
    segment = min(tmp_path.glob("segment-*"))
    data = bytearray(segment.read_bytes())
    data[600] ^= 1
    segment.write_bytes(data)
    damaged = run(tmp_path, wished, "--format", str(e.FORMAT))
    assert damaged.returncode == 78
    assert damaged.stderr.startswith(b"swarmshd.history: journal damaged: ")
    assert damaged.stderr.count(b"\n") == 1
    nowhere = run(tmp_path / "nowhere", wished, "--format", str(e.FORMAT))
    assert nowhere.returncode == 78


# -- the carrier ---------------------------------------------------------------------------------------


@asynccontextmanager
async def carrying(engine: Engine, directory: Path) -> AsyncIterator[Carrier]:
    carrier = Carrier(engine, Keeper(engine, directory, Watches(lambda _: None)), directory)
    async with trio.open_nursery() as nursery:
        await nursery.start(carrier.run)
        yield carrier
        nursery.cancel_scope.cancel()


async def answer(engine: Engine, verb: str, peer: Peer | None = None, **arguments: Any) -> Any:
    """The result of a request that takes a while, or ``(code, facts)``."""
    peer = peer or Peer()
    before = len(peer.replies)
    take(engine, peer, 7, verb, **arguments)
    turn(engine)
    with trio.fail_after(PATIENCE):
        while len(peer.replies) == before:
            await trio.sleep(0.005)
    number, code, result = peer.replies[-1]
    assert number == 7
    return result if code == 0 else (code, result)


async def pages(engine: Engine, verb: str, since: int, **arguments: Any) -> tuple[list[Any], int]:
    """All events, page by page over one connection, and how many pages it took."""
    peer = Peer()
    found: list[Any] = []
    count = 0
    while True:
        page = await answer(engine, verb, peer, since=since, **arguments)
        assert isinstance(page, dict), page
        count += 1
        found += page["events"]
        since = page["position"]
        if not page["more"]:
            return found, count


async def test_takings_of_locks_are_told_of_the_past_too_only_to_who_asks_for_them(tmp_path):
    engine = begin(tmp_path, *SMALL).engine
    begun = ask(engine, "watch")["position"]
    take_and_give_back(engine)
    for _ in range(30):
        put(engine, 100)
    assert begun < engine.aside.following.ring.first
    async with carrying(engine, tmp_path):
        found, _ = await pages(engine, "watch", begun)
        assert {event["event"] for event in found} == {"submitted"}
        assert len(found) == 3000
        locks, _ = await pages(engine, "watch", begun, queue=["@lock"])
        assert [event["event"] for event in locks] == ["submitted", "claimed", "renewed", "returned"]


async def test_a_watch_from_before_the_ring_reads_the_journal_and_goes_on_in_the_ring(tmp_path):
    engine = begin(tmp_path, *SMALL).engine
    begun = ask(engine, "watch")["position"]
    numbers = [number for n in range(30) for number in put(engine, 100, queue=f"q{n % 2}")]
    assert engine.aside.following.ring.first > begun
    async with carrying(engine, tmp_path):
        found, count = await pages(engine, "watch", begun, limit=500)
        assert [event["id"] for event in found] == numbers
        assert count >= 6
        odd, _ = await pages(engine, "watch", begun, queue=["q1"])
        assert odd == [event for event in found if event["queue"] == "q1"]
        mine, _ = await pages(engine, "watch", begun, ids=[numbers[0], numbers[-1]])
        assert [event["id"] for event in mine] == [numbers[0], numbers[-1]]
        one = await answer(engine, "watch", since=begun, limit=1)
        assert [event["id"] for event in one["events"]] == numbers[:1]
        assert one["more"]
    assert len(engine.aside.errands) == 0


async def test_a_follower_whom_the_ring_overtakes_goes_on_in_the_journal(tmp_path):
    engine = begin(tmp_path, *SMALL).engine
    async with carrying(engine, tmp_path):
        follower = Peer()
        since = ask(engine, "watch")["position"]
        take(engine, follower, 1, "watch", since=since, queue=["rare"], timeout=600_000)
        turn(engine)
        for _ in range(30):
            put(engine, 100)
        put(engine, queue="rare")
        engine.follow(NOW + 1000)
        with trio.fail_after(PATIENCE):
            while not follower.replies:
                await trio.sleep(0.005)
        position = follower.replies[0][2]["position"]
        assert since < position <= engine.journal.durable
        found = follower.replies[0][2]["events"]
        if not found:
            found, _ = await pages(engine, "watch", position, queue=["rare"])
        assert [event["queue"] for event in found] == ["rare"]


async def test_positions_that_are_gone_or_never_were(tmp_path):
    engine = begin(tmp_path, *SMALL).engine
    for _ in range(30):
        put(engine, 100)
    last = engine.journal.durable
    left = crash(engine, tmp_path)
    again = begin(left, *SMALL, wall=NOW + 1000).engine
    for _ in range(30):
        put(again, 100)
    async with carrying(again, left):
        code, facts = await answer(again, "watch", since=last + 1)
        assert (code, facts["newest"]) == ("position_gone", again.journal.durable)
        assert "between two epochs" in facts["message"]
        assert (await answer(again, "watch", since=last))["events"][0]["event"] == "started"
        fold(again, left, keep=False)
        code, facts = await answer(again, "watch", since=last)
        assert code == "position_gone"
        assert facts["oldest"] > last
        assert f"the oldest that is left is {facts['oldest']}" in facts["message"]
        code, facts = await answer(again, "history", ids=[1], since=again.journal.durable + 1)
        assert code == "position_gone"


async def test_a_page_that_ends_before_anything_was_read_knows_what_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(past, "PAGE_SECONDS", 0)
    engine = begin(tmp_path, *SMALL).engine
    (first,) = put(engine)
    last = engine.journal.durable
    fold(engine, tmp_path, keep=False)
    for _ in range(30):
        put(engine, 100)
    async with carrying(engine, tmp_path):
        page = await answer(engine, "history", ids=[first])
        assert (page["oldest"], page["more"]) == (last, True)
        code, facts = await answer(engine, "watch", since=last - 1)
        assert (code, facts["oldest"]) == ("position_gone", last)


async def test_history_is_everything_of_some_items_as_far_as_it_is_kept(tmp_path):
    engine = begin(tmp_path, *SMALL).engine
    first, second, other = put(engine, 3)
    ask(engine, "submit", **WISH, ref="mine", after=[second])
    ask(engine, "claim", agent="a", id=second)
    ask(engine, "complete", id=second, agent="a")
    for _ in range(30):
        put(engine, 100)
    ask(engine, "cancel", id=first)
    async with carrying(engine, tmp_path):
        page = await answer(engine, "history", ids=[first, "mine"])
        assert [(event["event"], event["id"]) for event in page["events"]] == [
            ("submitted", first),
            ("submitted", other + 1),
            ("completed", second),
            ("cancelled", first),
        ]
        assert (page["oldest"], page["more"], page["position"]) == (0, False, engine.journal.durable)
        assert page["ids"] == [first, other + 1]
        few, count = await pages(engine, "history", 0, ids=[first, "mine"], limit=1)
        assert few == page["events"]
        assert count >= 4
        fold(engine, tmp_path)
        assert await answer(engine, "history", ids=[first, "mine"]) == page | {"position": engine.journal.durable}
        engine.journal.tend_archive(Terms(0, 0, 0), 1 << 50)
        last = await answer(engine, "history", ids=[first])
        assert (last["events"], last["oldest"]) == ([], engine.journal.durable)
        assert (await answer(engine, "history", ids=[99_999]))[0] == "not_found"


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_is_removed_while_it_is_told_is_history_no_longer(tmp_path, at_once):
    """Who reads page by page goes on with what is kept; nobody is told that the journal is damaged."""
    engine = begin(tmp_path, *SMALL).engine
    (first,) = put(engine)
    for _ in range(30):
        put(engine, 100)
    ask(engine, "cancel", id=first)
    fold(engine, tmp_path)
    peer, watcher = Peer(), Peer()
    async with carrying(engine, tmp_path) as carrier:
        since = 0
        if not at_once:
            page = await answer(engine, "watch", watcher, since=1, limit=10)
            since = page["position"]
            assert page["more"]
            assert (await answer(engine, "history", peer, ids=[first], limit=1))["events"][0]["event"] == "submitted"
        engine.journal.tend_archive(Terms(1 << 60, 0, 0), 1 << 50)
        events, _ = await pages(engine, "history", 1, ids=[first])
        assert events == []
        found = await answer(engine, "watch", watcher, since=since, limit=1000)
        while isinstance(found, dict):  # what the process had in hand is told
            found = await answer(engine, "watch", watcher, since=found["position"], limit=1000)
        code, facts = found
        assert (code, facts["oldest"]) == ("position_gone", engine.journal.durable)
        assert carrier is not None


async def test_a_history_ends_with_its_client(tmp_path, monkeypatch):
    """The processes that read for somebody end when nobody asks them any more."""
    monkeypatch.setattr(past, "LOOK_SECONDS", 0.01)
    engine = begin(tmp_path, *SMALL).engine
    for _ in range(30):
        put(engine, 100)
    peer = Peer()
    async with carrying(engine, tmp_path):
        begun = set(children())
        page = await answer(engine, "watch", peer, since=1, limit=10)
        assert page["more"]
        (waiting,) = set(children()) - begun
        again = await answer(engine, "watch", peer, since=page["position"], limit=10)
        assert set(children()) - begun == {waiting}, "the same process goes on"
        assert again["events"][0]["position"] == page["position"] + 1
        peer.closing = True
        with trio.fail_after(PATIENCE):
            while set(children()) - begun:
                await trio.sleep(0.01)
        peer = Peer()
        take(engine, peer, 1, "watch", since=1)
        turn(engine)
        engine.gone(peer)
        with trio.fail_after(PATIENCE):
            while set(children()) - begun:
                await trio.sleep(0.01)
        assert peer.replies == []
        assert len(engine.aside.errands) == 0
        peer = Peer()
        take(engine, peer, 2, "history", ids=[5])
        turn(engine)
        engine.drain()
        assert peer.replies[0][:2] == [2, "draining"]
        assert engine.idle


def children() -> list[int]:
    """The processes that this one has started and that have not ended."""
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in found if b"swarmshd.history" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_only_so_many_at_once_and_some_for_admins(tmp_path):
    engine = begin(tmp_path, *SMALL).engine
    for _ in range(30):
        put(engine, 100)
    user = Peer(1000, frozenset(("read",)))
    async with carrying(engine, tmp_path):
        for number in range(ERRANDS_MAX):
            take(engine, user, number, "history", ids=[1])
        turn(engine)
        refused = [reply for reply in user.replies if reply[1] == "busy"]
        assert len(refused) == KEPT_FOR_ADMINS
        assert refused[0][2]["retryable"]
        assert user.aside == ERRANDS_MAX - KEPT_FOR_ADMINS, "none of them keeps a busy place"
        admin = Peer()
        take(engine, admin, 1, "history", ids=[1])
        turn(engine)
        with trio.fail_after(PATIENCE):
            while len(user.replies) < ERRANDS_MAX or not admin.replies:
                await trio.sleep(0.005)
        assert admin.replies[0][1] == 0
        assert (await answer(engine, "history", user, ids=[1]))["events"]
        denied = Peer(1000, frozenset())
        assert (await answer(engine, "history", denied, ids=[1]))[0] == "denied"
        take(engine, user, 1, "history", ids=[1])
        turn(engine)
        user.classes = frozenset()
        engine.reconsider(user)
        assert user.replies[-1][:2] == [1, "denied"]
        assert (user.aside, admin.aside) == (0, 0)


async def test_what_the_system_does_not_give_is_said(tmp_path, monkeypatch, caplog):
    engine = begin(tmp_path, *SMALL).engine
    for _ in range(30):
        put(engine, 100)

    def nothing(*_: Any, **__: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    async with carrying(engine, tmp_path):
        with monkeypatch.context() as patched:
            patched.setattr(subprocess, "Popen", nothing)
            code, facts = await answer(engine, "history", ids=[1])
        assert (code, facts["retryable"]) == ("overloaded", True)
        assert "temporarily unavailable" in caplog.text
        segment = min(tmp_path.glob("segment-*"))
        data = bytearray(segment.read_bytes())
        data[600] ^= 1
        segment.write_bytes(data)
        code, facts = await answer(engine, "history", ids=[1])
        assert code == "journal_corrupt"
        assert segment.name in facts["message"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({}, "bad_request"),
        ({"ids": []}, "bad_request"),
        ({"ids": [1], "limit": 0}, "bad_request"),
        ({"ids": [1], "queue": ["q"]}, "bad_request"),
        ({"ids": [1], "since": -1}, "bad_request"),
        ({"ids": list(range(1, 1002))}, "too_large"),
    ],
)
def test_bad_arguments_are_refused(arguments, code):
    with pytest.raises(commands.Refusal) as refused:
        commands.structure("history", arguments, 0)
    assert refused.value.code == code
