"""What can be had of a journal's files: looked at, checked, repaired, backed up and restored."""

import io
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swarmshd import compact
from swarmshd import events as e
from swarmshd.engine import Engine
from swarmshd.journal import Corrupt, Journal, archive, recover
from swarmshd.journal.files import listing
from swarmshd.salvage import backup
from swarmshd.salvage.checking import check, measure
from swarmshd.salvage.founding import AHEAD, NotEmpty
from swarmshd.salvage.listing import dump, list_files
from swarmshd.salvage.repairing import Hopeless, repair
from swarmshd.workqueue.rows import ITEM, digest_of
from swarmshd.workqueue.tables import Tables
from tests.conftest import ROOT
from tests.rules import HOUR, House
from tests.test_engine import ask, begin
from tests.test_journal import FastDisk

pytestmark = pytest.mark.slow

Row = dict[str, Any]


def work(rounds: int = 24) -> House:
    """A house in which much has happened."""
    house = House(retain_done_items=8)
    house.do("register", agent="steady", slots=9, labels=["gpu"])
    for number in range(rounds):
        first = house.submit(description=f"first of {number}", group="g", ref=f"r{number}", payload=b"p" * number)
        other = house.submit(description=f"other of {number}", after=[first], unique=f"u{number}")
        house.submit(description=f"later of {number}", delay=HOUR)
        token = house.claim("steady", id=first)["token"]
        house.do("progress", id=first, token=token, percent=50, checkpoint=b"half", key=f"k{number}")
        if number % 3 == 0:
            house.do("fail", id=first, token=token, reason="why")
        elif number % 3 == 1:
            house.do("complete", id=first, token=token, result=b"r")
            house.claim("b", id=other)
        house.turn()
    house.do("pause", queue="default", reason="enough", admin=True)
    return house


def counts(body: bytes) -> int:
    return sum(len(entry.events) for entry in e.decode_batch(body, 0).entries)


def write(directory: Path, house: House, rotation_bytes: int = 2500) -> Journal:
    """The journal of what happened in the house; it was not stopped."""
    journal = Journal(directory, rotation_bytes, disk=FastDisk())
    journal.begin(0, 1)
    for position, body in house.written:
        assert journal.end == position
        journal.append(body, counts(body))
        journal.sync()
        journal.mark_durable()
    journal.idle()
    return journal


def fold(directory: Path, journal: Journal, segment: int, *, keep: bool = True) -> None:
    """A snapshot at the start of that segment; what it covers is archived or gone."""
    compact.fold(directory, listing(directory).segments[segment][0])
    journal.prune(listing(directory).snapshots[-1][0], keep=keep)


def content(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def state(directory: Path) -> Tables:
    tables, _ = compact.load(recover(directory, mend=False))
    return tables


def items(tables: Tables) -> dict[int, Any]:
    rows = e.decode_rows(e.encode_rows(list(tables.rows())))
    return {row[1]: row for row in rows if row[0] == ITEM}


def run(*arguments: str, stdin: bytes = b"") -> tuple[int, bytes, str]:
    command = [sys.executable, "-m", "swarmshd.salvage", *arguments]
    done = subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.fixture(scope="module")
def house() -> House:
    return work()


@pytest.fixture
def directory(tmp_path: Path, house: House) -> Path:
    """A journal of several segments, one snapshot, and an archive."""
    place = tmp_path / "state"
    journal = write(place, house)
    assert len(listing(place).segments) > 4
    fold(place, journal, 1)
    fold(place, journal, 1)
    journal.close()
    return place


# -- looking -------------------------------------------------------------------------------------------------


def test_every_file_is_listed(directory: Path) -> None:
    rows = list(list_files(directory))
    assert {row["file"] for row in rows} == set(content(directory))
    assert {row["kind"] for row in rows} == {"archived", "snapshot", "segment"}
    assert sum(row["bytes"] for row in rows) == sum(map(len, content(directory).values()))
    (directory / rows[-1]["file"]).write_bytes(b"short")
    assert "damaged" in list(list_files(directory))[-1]


def test_every_event_is_dumped_and_no_secret(directory: Path, house: House) -> None:
    rows = list(dump(directory))
    assert [row["position"] for row in rows] == list(range(1, house.tables.position + 1))
    text = json.dumps(rows)
    for item in house.tables.items.values():
        if item.claim is not None:
            assert item.claim.secret.hex() not in text
            assert item.claim.token not in text
    assert [row["event"] for row in dump(directory, item=1)][:2] == ["submitted", "claimed"]
    assert next(dump(directory, since=10))["position"] == 11


def test_a_sound_journal_is_said_to_be_sound(directory: Path, house: House) -> None:
    for deep in (False, True):
        (verdict,) = check(directory, deep=deep)
        assert verdict["sound"]
        assert verdict["digest"] == digest_of(house.tables).hex()
        assert (verdict["items"], verdict["position"]) == (len(house.tables.items), house.tables.position)
    assert measure(directory).keys() == {"append_us", "sync_us", "sync_us_95", "sync_us_most", "read_mib_per_second"}
    assert not list(directory.glob("*.tmp"))


def test_what_goes_on_being_written_is_checked_as_far_as_it_is_durable(tmp_path: Path, house: House) -> None:
    journal = write(tmp_path, house)
    path = listing(tmp_path).segments[-1][1]
    with path.open("r+b") as file:
        file.seek(journal._at)
        file.write(b"\xff" * 100)
    *_, verdict = check(tmp_path, upto=journal.durable)
    assert verdict["sound"]
    assert verdict["position"] == journal.durable
    before = journal.durable - 5
    *_, verdict = check(tmp_path, upto=before)
    assert verdict["position"] >= before


def test_a_snapshot_that_says_what_is_not_so_is_noticed(directory: Path) -> None:
    """Not the bytes are wrong but the rows: only the digest, or making it anew, tells."""
    (position, path), *_ = listing(directory).snapshots
    tables, epoch = Tables(), 1
    for chunk in recover(directory, mend=False).chunks():
        tables.restore(e.decode_rows(chunk))
    path.unlink()
    next(iter(tables.open.values())).description = "forged"
    compact.write(directory, tables, position, epoch)
    *faults, verdict = check(directory)
    assert verdict["sound"], "its digest was forged with it"
    *faults, verdict = check(directory, deep=True)
    assert not verdict["sound"]
    assert "give another" in faults[-1]["why"]


# -- repair --------------------------------------------------------------------------------------------------


def repaired(source: Path, target: Path) -> tuple[list[Row], Row]:
    before = content(source)
    *rows, made = repair(source, target)
    assert content(source) == before, "the damaged journal is as it was"
    *_, verdict = check(target)
    assert verdict["sound"]
    assert verdict["items"] == made["items"]
    return rows, made


def serves(directory: Path) -> Engine:
    """A daemon starts there and works."""
    engine = begin(directory, wall=2_000_000_000_000).engine
    number = ask(engine, "submit", type="t", description="new", queue="new")["id"]
    item = ask(engine, "claim", agent="new", queue=["new"])["items"][0]
    assert item["id"] == number
    assert ask(engine, "complete", id=number, token=item["token"])["state"] == "done"
    return engine


def test_a_sound_journal_is_the_same_after_repair(directory: Path, tmp_path: Path, house: House) -> None:
    rows, made = repaired(directory, tmp_path / "new")
    assert rows == []
    assert made["whole"]
    assert made["digest"] == digest_of(house.tables).hex()
    assert items(state(tmp_path / "new")) == items(house.tables)
    serves(tmp_path / "new")


@pytest.mark.parametrize("mask", [0xFF, 0x01])
def test_any_flipped_byte_costs_at_most_what_it_hit(directory: Path, tmp_path: Path, house: House, mask: int) -> None:
    choose = random.Random(mask)
    whole = items(house.tables)
    written = [position for position, _ in house.written] + [house.tables.position]
    for path in sorted(directory.rglob("segment-*")) + sorted(directory.rglob("snapshot-*")):
        data = bytearray(path.read_bytes())
        for at in choose.sample(range(len(data)), 12):
            data[at] ^= mask
            path.write_bytes(data)
            target = tmp_path / f"{path.name}-{at}"
            rows, made = repaired(directory, target)
            data[at] ^= mask
            path.write_bytes(data)
            losses = [row for row in rows if "loss" in row]
            assert all(row["file"] == str(path) for row in losses), (path, at)
            tables = state(target)
            if made["whole"]:
                assert items(tables) == whole, (path, at)
                assert made["digest"] == digest_of(house.tables).hex()
            else:
                (loss,) = [row for row in losses if row.get("up_to_position", 1) != row["after_position"]]
                if "up_to_position" not in loss:  # the very last frame, the seal: nobody can know that it was one
                    assert (path, items(tables)) == (listing(directory).segments[-1][1], whole)
                    continue
                first, last = loss["after_position"], loss["up_to_position"]
                assert last - first == made["events_lost"]
                assert {first, last} <= set(written), "whole batches are lost"
                assert last - first < 8
                assert (
                    not (set(whole) - set(items(tables)))
                    - {row["item"] for row in rows if "item" in row}
                    - hit(house, first, last)
                )
                assert tables.next_id > AHEAD
            shutil.rmtree(target)


def hit(house: House, first: int, last: int) -> set[int]:
    """Ids of the items that the events between two positions are about."""
    found: set[int] = set()
    for position, body in house.written:
        if first <= position < last:
            for entry in e.decode_batch(body, position).entries:
                for event in entry.events:
                    found |= {getattr(event, "id", 0), *getattr(event, "ids", ()), *getattr(event, "ready", ())}
    return found


def test_a_damaged_snapshot_is_made_anew_from_the_archive(directory: Path, tmp_path: Path, house: House) -> None:
    path = listing(directory).snapshots[0][1]
    for kept in archive.segments(directory):
        archive.compress(FastDisk(), kept)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(Corrupt, match="swarmctl journal repair"):
        state(directory)
    _, made = repaired(directory, tmp_path / "new")
    assert made["whole"]
    assert items(state(tmp_path / "new")) == items(house.tables)


def test_of_a_damaged_snapshot_the_sound_chunks_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, house: House
) -> None:
    monkeypatch.setattr(compact, "ROWS", 4)
    place = tmp_path / "state"
    journal = write(place, house)
    fold(place, journal, -1, keep=False)
    journal.close()
    path = listing(place).snapshots[0][1]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    rows, made = repaired(place, tmp_path / "new")
    (loss,) = [row for row in rows if "loss" in row]
    assert loss["file"] == str(path)
    assert made["events_lost"] <= 4
    left = items(state(tmp_path / "new"))
    assert len(items(house.tables)) - 4 <= len(left) < len(items(house.tables)) + 1
    serves(tmp_path / "new")


@pytest.mark.parametrize("which", [0, 1, -1])
def test_a_missing_segment_is_a_gap(directory: Path, tmp_path: Path, which: int, house: House) -> None:
    for kept in archive.segments(directory) + archive.snapshots(directory):
        kept.path.unlink()
    path = listing(directory).segments[which][1]
    path.unlink()
    rows, made = repaired(directory, tmp_path / "new")
    losses = [row for row in rows if "loss" in row]
    if which == -1:  # the newest leaves no trace, and nobody can know that there was one
        assert made["whole"]
    else:
        assert [row["loss"] for row in losses] == ["missing"]
        assert losses[0]["after_position"] == int(path.name[-20:])
        assert made["events_lost"] == losses[0]["up_to_position"] - losses[0]["after_position"] > 0
    serves(tmp_path / "new")


def test_a_torn_tail_is_no_loss(tmp_path: Path, house: House) -> None:
    journal = write(tmp_path / "state", house)
    path = listing(tmp_path / "state").segments[-1][1]
    with path.open("r+b") as file:
        file.seek(journal._at)
        file.write(b"SwB\xa7half")
    rows, made = repaired(tmp_path / "state", tmp_path / "new")
    assert [row["loss"] for row in rows] == ["torn"]
    assert made["whole"]
    assert items(state(tmp_path / "new")) == items(house.tables)


def test_the_tokens_of_a_repaired_journal_hold_and_new_ones_are_far_ahead(tmp_path: Path) -> None:
    engine = begin(tmp_path / "state").engine
    first = ask(engine, "submit", type="t", description="d")["id"]
    ask(engine, "submit", type="t", description="lost")
    item = ask(engine, "claim", agent="a", id=first)["items"][0]
    engine.journal.idle()
    path = listing(tmp_path / "state").segments[-1][1]
    data = path.read_bytes()
    path.write_bytes(data.replace(b"lost", b"LOST"))
    _, made = repaired(tmp_path / "state", tmp_path / "new")
    assert not made["whole"]
    engine = serves(tmp_path / "new")
    assert ask(engine, "complete", id=first, token=item["token"])["state"] == "done"
    ask(engine, "resume", all=True)
    assert ask(engine, "claim_new", agent="b", type="t", description="d")["items"][0]["fence"] > AHEAD


def test_there_is_nothing_to_repair(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").touch()
    (tmp_path / "none").mkdir()
    with pytest.raises(Hopeless, match="no journal"):
        list(repair(tmp_path / "none", tmp_path / "new"))
    with pytest.raises(NotEmpty, match="is not empty"):
        list(repair(tmp_path / "none", tmp_path / "full"))
    (tmp_path / "none" / "segment-00000000000000000000").write_bytes(os.urandom(5000))
    with pytest.raises(Hopeless, match="nothing"):
        list(repair(tmp_path / "none", tmp_path / "new"))


# -- backup and restore --------------------------------------------------------------------------------------


def backed_up(directory: Path, upto: int) -> bytes:
    sink = io.BytesIO()
    facts = backup.write(directory, upto, sink.write, salt=7, created=1)
    assert facts["bytes"] == len(sink.getvalue())
    return sink.getvalue()


def test_a_backup_holds_everything_up_to_its_position(tmp_path: Path, house: House) -> None:
    journal = write(tmp_path / "state", house)
    fold(tmp_path / "state", journal, 2)
    whole = backed_up(tmp_path / "state", journal.durable)
    (tmp_path / "v").mkdir()
    facts = backup.verify(io.BytesIO(whole), tmp_path / "v")
    assert facts["digest"] == digest_of(house.tables).hex()
    assert facts["position"] == house.tables.position
    tables = Tables()
    positions = [position for position, _ in house.written]
    early = positions[-9]
    for position, body in house.written[:-9]:
        tables.replay(e.decode_batch(body, position))
    (tmp_path / "w").mkdir()
    facts = backup.verify(io.BytesIO(backed_up(tmp_path / "state", early)), tmp_path / "w")
    assert facts["digest"] == digest_of(tables).hex(), "what came later is not in it"


def test_a_damaged_or_cut_backup_is_refused_and_leaves_nothing(tmp_path: Path, house: House) -> None:
    journal = write(tmp_path / "state", house)
    whole = backed_up(tmp_path / "state", journal.durable)
    choose = random.Random(1)
    target = tmp_path / "new"
    for at in [*choose.sample(range(len(whole)), 60), 0, len(whole) - 1]:
        flipped = bytearray(whole)
        flipped[at] ^= 0x10
        for bad in (bytes(flipped), whole[:at]):
            with pytest.raises(backup.Unusable):
                backup.restore(io.BytesIO(bad), target)
            assert not list(target.iterdir())
    with pytest.raises(backup.Unusable):
        backup.restore(io.BytesIO(whole + b"more"), target)
    backup.restore(io.BytesIO(whole), target)


def test_a_backup_holds_no_other_files_than_those_of_a_journal(tmp_path: Path) -> None:
    from swarmshd import records

    for name in ("../evil", "evil", "segment-0000000000000000000", "/etc/passwd"):
        head = records.pack_backup_header(records.BackupHeader(1, 0, 1, 0))
        running = records.WORD.unpack_from(head, records.BACKUP_HEADER.size)[0]
        chunk, running = records.pack_chunk_header(0, name.encode() + b"x", len(name), running)
        bad = head + chunk + name.encode() + b"x" + records.pack_end(1, 1, running)
        with pytest.raises(backup.Unusable, match="file of the name"):
            backup.restore(io.BytesIO(bad), tmp_path / "new")
    assert not (tmp_path / "evil").exists()


def test_a_restore_is_another_daemon_far_ahead(tmp_path: Path) -> None:
    engine = begin(tmp_path / "state").engine
    for number in range(5):
        ask(engine, "submit", type="t", description=f"{number}")
    ask(engine, "register", agent="a", slots=3)
    held = ask(engine, "claim", agent="a", count=2)["items"]
    epoch, position = engine.queue.tables.epoch, engine.queue.tables.position
    whole = backed_up(tmp_path / "state", engine.journal.durable)
    later = ask(engine, "submit", type="t", description="after the backup")["id"]
    last = ask(engine, "claim", agent="a")["items"][0]
    facts = backup.restore(io.BytesIO(whole), tmp_path / "new")
    assert (facts["items"], facts["returned"], facts["of_position"]) == (5, 2, position)
    assert facts["epoch"] == epoch + AHEAD
    engine = begin(tmp_path / "new").engine
    assert engine.queue.tables.epoch == epoch + AHEAD + 1
    assert ask(engine, "count", state=["ready"])["count"] == 5
    for item in [*held, last]:
        assert ask(engine, "complete", id=item["id"], token=item["token"])[0] in ("lease_lost", "not_holder")
    assert ask(engine, "submit", type="t", description="new")["id"] > later + AHEAD - 1
    assert ask(engine, "claim", agent="b")["items"][0]["fence"] > AHEAD
    assert engine.queue.tables.position > position + AHEAD
    assert ask(engine, "show", id=1)["crashes"] == 0, "nothing was counted"


# -- the program ---------------------------------------------------------------------------------------------


def rows_of(out: bytes) -> list[Row]:
    return [json.loads(line) for line in out.splitlines()]


def test_the_program(directory: Path, tmp_path: Path, house: House) -> None:
    status, out, err = run("list", "--state-dir", str(directory))
    assert (status, err) == (0, "")
    assert len(rows_of(out)) == len(content(directory))
    status, out, err = run("check", "--state-dir", str(directory))
    assert (status, err) == (0, "")
    assert rows_of(out)[0]["sound"]
    assert rows_of(out)[1]["sync_us"] > 0
    status, made, err = run("backup", "--state-dir", str(directory), "--now", "5")
    assert (status, err) == (0, "")
    status, out, err = run("verify", stdin=made)
    assert (status, err) == (0, "")
    assert rows_of(out)[0]["digest"] == digest_of(house.tables).hex()
    assert rows_of(out)[0]["created"] == 5
    status, out, err = run("restore", "--state-dir", str(tmp_path / "restored"), stdin=made)
    assert (status, err) == (0, "")
    serves(tmp_path / "restored")
    path = listing(directory).segments[0][1]
    path.write_bytes(path.read_bytes().replace(b"first", b"FIRST"))
    status, out, err = run("check", "--no-measure", "--state-dir", str(directory))
    assert (status, err) == (78, "")
    assert rows_of(out)[0]["file"] == str(path)
    status, out, err = run("repair", "--state-dir", str(directory), "--to", str(tmp_path / "repaired"))
    assert (status, err) == (0, "")
    assert not rows_of(out)[-1]["whole"]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (lambda d: ["check", "--state-dir", str(d / "nowhere")], 74, "nowhere"),
        (lambda d: ["repair", "--state-dir", str(d), "--to", str(d.parent)], 5, "not empty"),
        (lambda d: ["verify"], 78, "backup"),
        (lambda d: ["restore", "--state-dir", str(d)], 5, "not empty"),
    ],
)
def test_failures_are_one_line(directory: Path, arguments: Callable[[Path], list[str]], status: int, says: str) -> None:
    got, out, err = run(*arguments(directory))
    assert (got, out) == (status, b"")
    assert err.startswith("swarmshd.salvage: ")
    assert err.count("\n") == 1
    assert says in err


def test_it_stays_away_where_a_daemon_works(tmp_path: Path) -> None:
    engine = begin(tmp_path).engine
    from swarmshd.journal import StateLock

    with StateLock(tmp_path) as lock:
        lock.acquire()
        for what in (["check"], ["repair", "--to", str(tmp_path / "new")], ["backup"]):
            status, _, err = run(*what, "--state-dir", str(tmp_path))
            assert status == 75
            assert str(os.getpid()) in err
        upto = str(engine.journal.durable)
        assert run("check", "--no-measure", "--state-dir", str(tmp_path), "--upto", upto)[0] == 0
