"""WAL_SYNC_INTERVAL and WAL_ENABLED: what is answered before it is synced, what that can lose, and that it is said."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from swarmshd import configuration
from swarmshd.engine import Engine, durability
from swarmshd.engine.durability import IDLE
from swarmshd.journal import recover
from tests.conftest import Daemon
from tests.test_engine import NOW, Peer, ask, begin, take

RELAXED = ["WAL_SYNC_INTERVAL=500", "WAL_ENABLED=false"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "state"


def turn(engine: Engine, now: int) -> bool:
    """One turn of the owner of the loop; whether it synced."""
    engine.advance(now)
    engine.write()
    if not engine.sync_due(now):
        return False
    engine.sync()
    engine.durable()
    return True


def submit(engine: Engine, now: int, **more: Any) -> tuple[dict[str, Any], bool]:
    peer = Peer()
    take(engine, peer, 1, "submit", type="t", description="d", **more)
    synced = turn(engine, now)
    ((_, code, result),) = peer.replies
    assert code == 0
    return result, synced


def power_cut(engine: Engine, place: Path, durable: bytes) -> Path:
    """The files as they are when what was not synced is gone: the segment as it was at the last sync."""
    left = place.with_name("left")
    shutil.copytree(place, left)
    (segment,) = left.glob("segment-*")
    segment.write_bytes(durable.ljust(segment.stat().st_size, b"\0"))
    engine.journal.close()
    return left


def test_as_it_is_nothing_is_answered_before_it_is_synced(place: Path) -> None:
    engine = begin(place).engine
    result, synced = submit(engine, NOW)
    assert synced
    assert "relaxed" not in result
    assert ask(engine, "status")["durability"].startswith("durable before the answer")
    assert not ask(engine, "health")["conditions"]


def test_an_interval_is_how_long_the_answered_waits_for_its_sync(place: Path) -> None:
    engine = begin(place, "WAL_SYNC_INTERVAL=500").engine
    syncs = engine.commits.syncs
    result, synced = submit(engine, NOW)
    assert not synced
    assert result["relaxed"] == "sync within 500 ms"
    assert engine.next_deadline() == NOW + 500
    for later in (100, 499):
        assert submit(engine, NOW + later)[1] is False
    assert engine.commits.syncs == syncs
    told = ask_stats(engine, NOW + 499)
    assert (told["strict"], told["unsynced"], told["unsynced_ms"]) == (False, True, 499)
    assert turn(engine, NOW + 500)
    assert engine.commits.syncs == syncs + 1, "one for all of them"
    told = ask_stats(engine, NOW + 500)
    assert (told["unsynced"], told["unsynced_ms_most"]) == (False, 500)


def ask_stats(engine: Engine, now: int) -> dict[str, Any]:
    peer = Peer()
    take(engine, peer, 1, "stats", section="wal")
    engine.advance(now)
    wal: dict[str, Any] = peer.replies[-1][2]["sections"]["wal"]
    return wal


def test_without_a_log_that_is_synced_only_idleness_syncs(place: Path) -> None:
    engine = begin(place, "WAL_ENABLED=false").engine
    now = NOW
    for _ in range(10):
        result, synced = submit(engine, now)
        assert not synced
        assert result["relaxed"] == "no sync"
        now += IDLE - 1
    assert engine.next_deadline() == now + 1
    assert turn(engine, now + 1)


@pytest.mark.parametrize("setting", RELAXED)
def test_so_many_bytes_are_synced_in_any_case(place: Path, setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert durability.UNSYNCED_MAX == 16 << 20
    monkeypatch.setattr(durability, "UNSYNCED_MAX", 1 << 20)
    engine = begin(place, setting).engine
    written = 0
    while not submit(engine, NOW, payload=b"p" * 60_000)[1]:
        written += 60_000
        assert written <= 1 << 20
    assert written > 900_000


@pytest.mark.parametrize("setting", RELAXED)
def test_it_is_said_wherever_somebody_looks(place: Path, setting: str) -> None:
    engine = begin(place, setting).engine
    assert ask(engine, "status")["durability"].startswith("RELAXED: answered before it is synced (WAL_")
    (condition,) = ask(engine, "health")["conditions"]
    assert (condition["name"], condition["severity"]) == ("relaxed_durability", "info")
    assert "a power cut loses" in condition["fact"]
    replies = ask(engine, "batch", commands=[["submit", {"type": "t", "description": "d"}]])
    assert replies["relaxed"]


@pytest.mark.parametrize("setting", RELAXED)
def test_law_acknowledged_is_durable_but_for_the_window_that_was_said(place: Path, setting: str) -> None:
    """A power cut takes what was not synced, and nothing else; what it took is not given to anybody again."""
    engine = begin(place, setting).engine
    kept, _ = submit(engine, NOW)
    assert turn(engine, NOW + IDLE)
    (segment,) = place.glob("segment-*")
    durable = segment.read_bytes()
    lost, synced = submit(engine, NOW + IDLE + 1)
    assert not synced
    left = power_cut(engine, place, durable)
    again = begin(left).engine
    assert list(again.queue.tables.items) == [kept["id"]]
    fresh, _ = submit(again, NOW + 10_000)
    assert fresh["id"] > lost["id"]
    again.journal.close()


@pytest.mark.parametrize("setting", RELAXED)
def test_the_end_of_the_daemon_alone_loses_nothing(place: Path, setting: str) -> None:
    engine = begin(place, setting).engine
    submit(engine, NOW)
    left = place.with_name("left")
    shutil.copytree(place, left)  # what was written is the system's already
    engine.close(NOW + 1)
    recovery = recover(place, mend=False)
    for _ in recovery.batches():
        pass
    assert recovery.clean
    assert len(begin(left).engine.queue.tables.items) == 1


def test_what_is_set_while_it_runs_counts_for_what_is_not_synced_yet(place: Path) -> None:
    engine = begin(place, "WAL_SYNC_INTERVAL=60000").engine
    assert not submit(engine, NOW)[1]
    engine.configure(configuration.resolve(None, {}, ()))
    assert not engine.may_write, "the next batch waits, as the law has it again"
    assert turn(engine, NOW + 1)
    assert submit(engine, NOW + 2)[1]


@pytest.mark.real
@pytest.mark.parametrize("setting", ["WAL_SYNC_INTERVAL=300", "WAL_ENABLED=0"])
def test_a_daemon_syncs_less_and_loses_nothing_when_it_is_killed(make_daemon: Any, setting: str) -> None:
    daemon: Daemon = make_daemon(setting).start()
    before = daemon.call("stats", section="wal")["sections"]["wal"]["syncs"]
    ids = [daemon.call("submit", type="t", description="d")["id"] for _ in range(100)]
    after = daemon.call("stats", section="wal")["sections"]["wal"]["syncs"]
    assert after - before < 50
    daemon.restart()
    assert [item["id"] for item in daemon.call("list", limit=1000)["items"]] == ids
    assert daemon.ctl("status").stdout.count("RELAXED") == 1
    assert daemon.stop() == 0


# -- what the loop is not held up by -----------------------------------------------------------------------


def segments(place: Path) -> int:
    return len(list(place.glob("segment-*[0-9]")))


def test_a_segment_is_turned_with_the_sync_not_with_the_write(place: Path) -> None:
    """The thread that syncs seals it and makes the next one; the loop goes on meanwhile."""
    engine = begin(place, "JOURNAL_ROTATION_MB=1").engine
    peer = Peer()
    turned = 0
    for number in range(60):
        take(engine, peer, number, "submit", type="t", description="d", payload=b"p" * 60_000)
        engine.advance(NOW)
        before = segments(place)
        assert engine.write()
        assert segments(place) == before
        assert engine.sync_due(NOW)
        due = engine.journal.turn_due
        assert engine.may_sync_inline is not due
        engine.sync()
        assert segments(place) == before + due
        assert engine.queue.tables.items[number + 1].payload is not None
        engine.durable()
        engine.journal.prepare()
        turned += due
    assert turned == 3
    assert len(peer.replies) == 60
    assert engine.journal.io()["room_made_late"] == 0
    engine.close(NOW)
    assert len(begin(place).engine.queue.tables.items) == 60


@pytest.mark.parametrize("setting", RELAXED)
def test_a_full_segment_is_synced_however_relaxed_it_is(place: Path, setting: str) -> None:
    engine = begin(place, setting, "JOURNAL_ROTATION_MB=1").engine
    for _ in range(16):
        submit(engine, NOW, payload=b"p" * 60_000)
    assert segments(place) == 1
    while not submit(engine, NOW, payload=b"p" * 60_000)[1]:
        pass
    assert segments(place) == 2
