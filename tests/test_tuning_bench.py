"""swarmsh-tune bench: it measures in turns, leaves things as they were, and believes no gain that is not there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from swarmshd.tuning import measuring
from swarmshd.tuning.host import Refused
from tests.conftest import ROOT
from tests.disks import Loop, here, loops

FEW = ("--rounds", "2", "--writes", "4")
ROOT_ONLY = pytest.mark.skipif(os.getuid() != 0, reason="needs root to change a disk's settings")


class Told:
    """A place whose writes take as long as it is told: what is compared is arithmetic."""

    def __init__(self) -> None:
        self.slow = False
        self.rounds: list[bool] = []

    def round(self) -> list[int]:
        self.rounds.append(self.slow)
        return [3000 if self.slow else 1000] * 10


def switch(place: Told, *, slow: bool) -> None:
    assert place.slow != slow
    place.slow = slow


def test_the_two_are_measured_in_turns_and_the_end_is_as_the_beginning():
    place = Told()
    told: list[int] = []
    found = measuring.compare(
        place,  # type: ignore[arg-type]
        3,
        lambda: switch(place, slow=True),
        lambda: switch(place, slow=False),
        told.append,
    )
    assert place.rounds[1::2] == [False, True, True, False, False, True]
    assert (place.slow, told) == (False, [1, 2, 3])
    assert [(each.percentile, each.now, each.wanted, each.ratio, each.verdict) for each in found] == [
        (percent, 1.0, 3.0, 3.0, "slower") for percent in (50, 90, 99)
    ]


def test_it_is_put_back_when_it_is_interrupted():
    place = Told()

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measuring.compare(
            place,  # type: ignore[arg-type]
            3,
            lambda: switch(place, slow=True),
            lambda: switch(place, slow=False),
            interrupted,
        )
    assert not place.slow


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ((0.9, 0.8, 0.95), "faster"),
        ((1.1, 1.3, 1.2), "slower"),
        ((0.5, 0.6, 1.01), "no difference that can be told"),
        ((1.0, 1.0, 1.0), "no difference that can be told"),
    ],
)
def test_a_gain_is_believed_only_where_every_pair_has_it(ratios, verdict):
    compared = measuring._compared([([1000], [int(1000 * ratio)]) for ratio in ratios], 50)
    assert compared.verdict == verdict
    assert (compared.lowest, compared.highest) == pytest.approx((min(ratios), max(ratios)))


def test_percentiles():
    values = list(range(1, 101))
    assert [measuring.percentile(values, percent) for percent in (50, 90, 99)] == [51, 91, 100]
    assert measuring.percentile([7], 99) == 7


def test_as_things_are_takes_neither_root_nor_yes(tmp_path):
    said = here("bench", str(tmp_path), *FEW)
    assert (said.status, [row[0] for row in said.rows]) == (0, ["p50", "p90", "p99"])
    assert all(float(row[1]) > 0 for row in said.rows)
    facts = here("bench", str(tmp_path), *FEW, "--json").json
    assert (facts["rounds"], facts["writes"], facts["percentiles"][0]["wanted"]) == (2, 4, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["--rounds", "0"], 64, "--rounds: '0' is no number from 1 to 1000"),
        (["--writes", "many"], 64, "--writes: 'many' is no number from 1 to 10000"),
        (["--writes", "1000000000000"], 64, "--writes: '1000000000000' is no number"),
        (["/no/such"], 4, "/no/such: No such file or directory"),
        (["/proc"], 1, "/proc: cannot write there"),
    ],
)
def test_bad_input(words, status, line):
    said = here("bench", *words)
    assert said.status == status
    assert said.err[-1].startswith(f"swarmsh-tune: {line}")


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match="cannot write there: Not a directory"):
        measuring.Place(str(tmp_path / "file"), 1)


# -- on a disk -----------------------------------------------------------------------------------------


@pytest.fixture
def loop(tmp_path, monkeypatch):
    for made in loops(tmp_path):
        monkeypatch.setenv("RUNTIME_DIRECTORY", made.run)
        yield made


@pytest.fixture
def mounted(loop, tmp_path):
    place = tmp_path / "mounted"
    place.mkdir()
    try:
        subprocess.run(["mkfs.ext4", "-q", f"/dev/{loop.name}"], check=True)
        subprocess.run(["mount", f"/dev/{loop.name}", str(place)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be had on a loop device here: {error}")
    yield str(place)
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.real
@ROOT_ONLY
def test_before_and_after_on_a_disk(loop: Loop, mounted: str) -> None:
    words = (mounted, "--scheduler", "bfq", "--nomerges", "1")
    asked = loop.tune("bench", *words, *FEW)
    assert asked.status == 2
    assert "it takes --yes" in asked.err[-1]
    said = loop.tune("bench", *words, *FEW, "--yes")
    assert said.status == 0
    assert [len(row) for row in said.rows] == [7, 7, 7]
    for _, now, wanted, ratio, lowest, highest, verdict in said.rows:
        assert float(now) > 0
        assert float(wanted) > 0
        assert float(lowest) <= float(ratio) <= float(highest)
        assert verdict in {"slower", "faster", "no difference that can be told"}
    assert loop.values() == loop.first
    assert loop.revert().line == "nothing to put back"


@pytest.mark.real
@ROOT_ONLY
def test_what_is_applied_is_not_lost_by_measuring(loop: Loop, mounted: str) -> None:
    assert loop.apply("--nomerges", "1").status == 0
    said = loop.tune("bench", mounted, "--scheduler", "bfq", *FEW, "--yes")
    assert said.status == 1
    assert said.line.startswith("something is applied there, which would be lost: swarmsh-tune revert")
    assert loop.get("nomerges") == "1"


@pytest.mark.real
@ROOT_ONLY
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_bench_that_is_killed_leaves_nothing_that_revert_does_not_undo(loop: Loop, mounted: str, number: int) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "swarmshd.tuning", "bench", mounted, "--device", loop.name),
            *("--scheduler", "bfq", "--rounds", "1000", "--writes", "1", "--yes"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    while loop.get("scheduler") != "bfq":
        assert process.poll() is None
    process.send_signal(number)
    process.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert Path(loop.run, "state.json").exists()
        assert loop.revert().status == 0
    else:
        assert process.returncode == 130
    assert loop.values() == loop.first
