"""Write the directory of the present format; see the package's text."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from swarmshd import events, records
from swarmshd.journal import archive
from swarmshd.journal.disk import DISK
from swarmshd.journal.files import listing
from swarmshd.salvage import backup
from tests.rules import HOUR
from tests.test_golden import expected_of
from tests.test_salvage import fold, work, write

PLACE = Path(__file__).parent / f"{records.FORMAT}-{events.FORMAT}"


def main() -> int:
    """Make it; 1 if it is there."""
    if PLACE.exists():
        sys.stderr.write(f"{PLACE} is there already, and what was released is not made again\n")
        return 1
    house = work(12)
    house.do("resume", queue="default", admin=True)
    house.submit(description="watched", queue="other", require=["gpu"], type="kind")
    house.claim("steady", queue=["other"], watch=(4711, 1))
    house.do("queue_set", queue="other", limit=3, admin=True)
    house.do("lock", agent="steady", name="release", lease=HOUR)
    with tempfile.TemporaryDirectory() as name:
        torn, state = Path(name, "torn"), Path(name, "state")
        write(torn, house, 1 << 20)
        (segment,) = [path for _, path in listing(torn).segments]
        data = segment.read_bytes()
        batch = data.rindex(records.FRAME_MAGIC, 0, data.rindex(records.FRAME_MAGIC))  # behind it is an empty frame
        segment.write_bytes(data[: batch + records.FRAME_HEADER_SIZE + 3])
        journal = write(state, house, 1500)
        fold(state, journal, 2)
        fold(state, journal, 2)
        journal.close()
        archive.compress(DISK, archive.segments(state)[0])
        with Path(name, "backup").open("wb") as file:
            backup.write(state, backup.end(state), file.write, salt=1, created=house.now)
        for made in (torn, state):
            for path in made.rglob("lock"):
                path.unlink()
            shutil.copytree(made, PLACE / made.name)
        shutil.copy(Path(name, "backup"), PLACE / "backup")
    (PLACE / "expected.json").write_text(json.dumps(expected_of(PLACE), indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
