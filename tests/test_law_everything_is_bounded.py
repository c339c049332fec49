"""Law 7: everything is bounded, and the refusal names the limit. Here: what the largest lawful requests may cost.

Whoever may work, and no more, must not be able to end the daemon, nor to have it hold up everybody else for long.
"""

import pytest

from swarmshd.engine.rounds import ROUND_BYTES
from swarmshd.engine.space import ROOM_MIN
from swarmshd.protocol import NOTE_MAX
from tests.test_engine import Peer, ask, begin, take, turn

WORK = frozenset(("read", "work"))


@pytest.fixture
def engine(tmp_path):
    made = begin(tmp_path / "state").engine
    yield made
    made.journal.close()


def fill(engine, count, **fields):
    """So many items of uid 0."""
    line = ["submit", {"type": "t", "description": "", **fields}]
    for _ in range(0, count, 2000):
        ask(engine, "batch", commands=[line] * min(count, 2000))


def written(engine):
    """Bytes of the largest batch from here on."""
    sizes = []
    append = engine.journal.append

    class Seen:
        def __getattr__(self, name):
            return getattr(journal, name)

        def append(self, body, count):
            sizes.append(len(body))
            return append(body, count)

    journal = engine.journal
    engine.journal = Seen()
    return sizes


def test_a_group_is_cancelled_in_parts_that_fit_the_journal_whatever_the_reason(engine):
    fill(engine, 2000, group="g")
    sizes = written(engine)
    done = ask(engine, "cancel", group="g", reason="x" * NOTE_MAX)
    assert done["more"]
    assert 0 < done["cancelled"] < 2000
    assert max(sizes) <= ROOM_MIN
    total = done["cancelled"]
    while done["more"]:
        done = ask(engine, "cancel", group="g", reason="x" * NOTE_MAX)
        total += done["cancelled"]
    assert total == 2000


def test_a_queue_is_cleared_in_parts_that_fit_the_journal_whatever_the_reason(engine):
    fill(engine, 2000)
    sizes = written(engine)
    done, total = {"more": True}, 0
    while done["more"]:
        done = ask(engine, "clear", queue="default", reason="x" * NOTE_MAX)
        total += done["cleared"]
    assert total == 2000
    assert max(sizes) <= ROOM_MIN


def test_many_large_changes_make_many_batches(engine):
    """Each of them is short to say; together they would be no batch that the journal takes."""
    fill(engine, 6000, group="g")
    sizes = written(engine)
    peer = Peer()
    for number in range(100):
        take(engine, peer, number, "cancel", group="g", reason="x" * 2000)
    while engine.waiting_to_decide:
        turn(engine)
    assert sum(sizes) > 6000 * 2000
    assert max(sizes) < ROUND_BYTES + 2 * ROOM_MIN


def test_a_batch_ends_where_its_changes_are_too_large(engine):
    fill(engine, 6000, group="g")
    sizes = written(engine)
    lines = [["cancel", {"group": "g", "reason": "x" * 2000}]] * 400
    replies = ask(engine, "batch", commands=lines)["replies"]
    assert [code for code, _ in replies[-2:]] == ["too_large"] * 2
    assert max(sizes) < ROUND_BYTES + 2 * ROOM_MIN
    assert ask(engine, "count")["count"] == 6000 - sum(told["cancelled"] for code, told in replies if code == 0)


def test_what_waits_to_be_recorded_is_recorded_when_it_is_much(engine):
    fill(engine, 400)
    ask(engine, "claim", agent="a", count=400)
    sizes = written(engine)
    long = "x" * NOTE_MAX
    for number in range(1, 401):
        ask(engine, "progress", id=number, agent="a", relaxed=True, status=long, message=long)
    (size,) = sizes  # long before there are as many as may wait
    assert size < ROUND_BYTES + ROOM_MIN
