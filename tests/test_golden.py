"""What released programs wrote is read to the same items, byte for byte and for ever."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from swarmshd import compact, events, records
from swarmshd.journal import recover
from swarmshd.journal.disk import DISK
from swarmshd.journal.files import listing, read_segment_header
from swarmshd.journal.scan import Scan
from swarmshd.salvage import backup
from swarmshd.salvage.checking import check
from swarmshd.salvage.listing import dump, list_files
from swarmshd.workqueue.rows import digest_of
from swarmshd.workqueue.tables import Tables

GOLDEN = Path(__file__).parent / "golden"
FORMATS = sorted(path.name for path in GOLDEN.iterdir() if (path / "expected.json").exists())


def plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    return value


def held(tables: Tables) -> dict[str, Any]:
    """All that a state holds."""
    rows = events.decode_rows(events.encode_rows(list(tables.rows())))
    return {"digest": digest_of(tables).hex(), "rows": plain(rows)}


def expected_of(place: Path) -> dict[str, Any]:
    """What the files in a directory hold."""
    found: dict[str, Any] = {}
    for name in ("state", "torn"):
        recovery = recover(place / name, mend=False)
        tables, batches = compact.load(recovery)
        found[name] = {**held(tables), "position": recovery.position, "epoch": recovery.epoch, "batches": batches}
        found[name] |= {"clean": recovery.clean, "torn": recovery.torn and recovery.torn.bytes}
    found["events"] = list(dump(place / "state"))
    found["files"] = [{k: v for k, v in row.items() if k != "written"} for row in list_files(place / "state")]
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


@pytest.fixture(params=FORMATS)
def place(request: pytest.FixtureRequest) -> Path:
    """The directory of one format."""
    found: Path = GOLDEN / request.param
    return found


def expected(place: Path) -> Any:
    return json.loads((place / "expected.json").read_text())


def test_the_present_format_has_its_files() -> None:
    assert f"{records.FORMAT}-{events.FORMAT}" in FORMATS, "make them: python -m tests.golden"


def test_every_format_is_read_to_the_same_items(place: Path) -> None:
    assert expected_of(place) == expected(place)


def test_every_format_is_sound(place: Path) -> None:
    (verdict,) = check(place / "state", deep=True)
    assert verdict["sound"]
    assert verdict["digest"] == expected(place)["state"]["digest"]
    assert {row["kind"] for row in expected(place)["files"]} == {"archived", "snapshot", "segment"}
    assert any(row["file"].endswith(".gz") for row in expected(place)["files"])


def test_a_torn_tail_of_every_format_is_cut_and_the_rest_is_there(place: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(place / "torn", copy)
    recovery = recover(copy)
    tables, _ = compact.load(recovery)
    assert held(tables) == {name: expected(place)["torn"][name] for name in ("digest", "rows")}
    assert recovery.torn is not None
    assert recovery.torn.copy is not None
    assert recovery.torn.copy.stat().st_size == expected(place)["torn"]["torn"]
    again, _ = compact.load(recover(copy, mend=False))
    assert held(again) == held(tables)


def test_a_backup_of_every_format_is_restored(place: Path, tmp_path: Path) -> None:
    data = (place / "backup").read_bytes()
    there = tmp_path / "there"
    there.mkdir()
    assert backup.verify(io.BytesIO(data), there)["digest"] == expected(place)["state"]["digest"]
    made = backup.restore(io.BytesIO(data), tmp_path / "made")
    tables, _ = compact.load(recover(tmp_path / "made", mend=False))
    ids = [row[1] for row in expected(place)["state"]["rows"] if row[0] == 3]
    assert sorted(tables.items) == sorted(ids)
    assert made["items"] == len(ids)


def test_the_same_events_are_still_written_as_the_same_bytes() -> None:
    """While the format has the same number."""
    place = GOLDEN / f"{records.FORMAT}-{events.FORMAT}"
    for start, path in listing(place / "state").segments:
        header = read_segment_header(DISK, path, start)
        data = path.read_bytes()
        assert records.pack_segment_header(header) == data[: records.SECTOR]
        for at, frame in Scan(data, header):
            body = data[at + records.FRAME_HEADER_SIZE : at + records.FRAME_HEADER_SIZE + frame.length]
            packed = records.pack_frame(frame.kind, body, frame.event_count, frame.start, frame.durable, header.salt)
            assert data[at : at + len(packed)] == packed
            if frame.kind == records.BATCH:
                batch = events.decode_batch(body, frame.start)
                assert events.encode_batch(batch.time, [events.encode_entry(each) for each in batch.entries]) == body
