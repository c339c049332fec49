"""Where a sync is waited for: in the loop while the disk is quick, else in the thread."""

import select
from collections.abc import Iterator

import pytest

from swarmshd.server.committer import AWAY, LOOKED_AT, QUICK_NS, Committer


class Disk:
    """Its syncs take as long as they are said to."""

    def __init__(self) -> None:
        self.took = QUICK_NS // 5
        self.syncs = 0
        self.error: OSError | None = None

    def sync(self) -> int:
        self.syncs += 1
        if self.error is not None:
            raise self.error
        return self.took


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def committer(disk: Disk) -> Iterator[Committer]:
    made = Committer(disk.sync)
    yield made
    made.close()


def in_thread(committer: Committer) -> None:
    committer.begin()
    assert committer.busy
    assert select.select([committer.fd], [], [], 60)[0]
    committer.finish()


def test_a_quick_disk_is_waited_for_in_the_loop(disk: Disk, committer: Committer) -> None:
    for _ in range(100):
        assert committer.quick
        committer.inline()
    assert disk.syncs == 100


def test_a_slow_sync_sends_the_next_ones_to_the_thread_and_then_one_is_tried(disk: Disk, committer: Committer) -> None:
    disk.took = QUICK_NS * LOOKED_AT * 2
    committer.inline()
    for _ in range(AWAY):
        assert not committer.quick
        in_thread(committer)
    assert committer.quick
    disk.took = QUICK_NS // 5
    committer.inline()
    assert committer.quick
    assert disk.syncs == AWAY + 2


def test_a_disk_that_is_usually_slow_is_found_out(disk: Disk, committer: Committer) -> None:
    disk.took = QUICK_NS * 2
    tried = 0
    while committer.quick:
        committer.inline()
        tried += 1
    assert 1 < tried <= LOOKED_AT


def test_one_slow_sync_among_quick_ones_is_forgiven(disk: Disk, committer: Committer) -> None:
    for took in [QUICK_NS // 5] * 20 + [QUICK_NS * 4] + [QUICK_NS // 5] * 20:
        disk.took = took
        committer.inline()
        assert committer.quick


def test_what_fails_in_the_thread_is_raised_in_the_loop(disk: Disk, committer: Committer) -> None:
    disk.error = OSError(5, "Input/output error")
    committer.begin()
    assert select.select([committer.fd], [], [], 60)[0]
    with pytest.raises(OSError, match="Input/output error"):
        committer.finish()
