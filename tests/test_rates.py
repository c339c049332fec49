"""What is counted of events, and what that is a second."""

from hypothesis import given
from hypothesis import strategies as st

from swarmshd import events as e
from swarmshd.engine.rates import KEPT, KINDS, SLACK, WINDOWS, Rates

NOW = 1_800_000_000_000
SECOND = 1000

SUBMITTED = e.ItemSubmitted(1, "q", "t", 2, "d")


def counted(*happened: e.Event) -> dict[str, int]:
    rates = Rates()
    rates.begin(NOW)
    rates.count(happened)
    return {kind: number for kind, number in rates.totals().items() if number}


def test_what_is_no_work_is_not_counted():
    rates = Rates(lambda number: number == 2)
    rates.begin(NOW)
    for number in (1, 2):
        happened = [e.ItemSubmitted(number, "q", "t", 2, "d"), e.ItemClaimed(number, "a", 1, b"s", 0, 0)]
        rates.count([*happened, e.ItemReturned(number, e.CRASHED), e.ItemCancelled(number)])
    told = {kind: number for kind, number in rates.totals().items() if number}
    assert told == {"submitted": 1, "claimed": 1, "crashed": 1, "cancelled": 1}


def test_each_end_of_a_claim_is_counted_by_its_cause():
    assert counted(SUBMITTED, e.ItemClaimed(1, "a", 1, b"s", 0, 0), e.ItemCompleted(1)) == {
        "submitted": 1,
        "claimed": 1,
        "completed": 1,
    }
    assert counted(*(e.ItemReturned(1, cause) for cause in range(len(e.CAUSES)))) == {
        "failed": 1,
        "crashed": 1,
        "released": 1,
        "returned": len(e.CAUSES) - 3,
    }
    assert counted(e.ItemBuried(1, e.FAILED), e.ItemBuried(2, e.CRASHED), e.ItemBuried(3)) == {
        "failed": 1,
        "crashed": 1,
        "buried": 3,
    }
    assert counted(e.ItemsKicked((1, 2, 3)), e.ItemCancelled(4)) == {"kicked": 3, "cancelled": 1}


def test_what_is_no_items_fate_is_not_counted():
    assert counted(e.LeasesRenewed((1,), 0), e.AgentQuieted("a", True), e.ItemsForgotten((1,)), e.ItemsDue((1,))) == {}


def test_a_young_daemon_has_rates_over_its_life():
    rates = Rates()
    rates.begin(NOW)
    rates.count([SUBMITTED] * 30)
    assert {name: one["submitted"] for name, one in rates.per_second(NOW).items()} == dict.fromkeys(WINDOWS, 30.0)
    assert {name: one["submitted"] for name, one in rates.per_second(NOW + 3 * SECOND).items()} == dict.fromkeys(
        WINDOWS, 10.0
    )


def test_what_is_older_than_a_window_is_out_of_it():
    rates = Rates()
    rates.begin(NOW)
    rates.count([SUBMITTED] * 60)
    found = rates.per_second(NOW + 20 * SECOND)
    assert found["10s"]["submitted"] == 0
    assert found["1m"]["submitted"] == 3.0
    assert rates.per_second(NOW + 2 * KEPT * SECOND)["10m"]["submitted"] == 0
    assert rates.totals()["submitted"] == 60


@given(st.lists(st.tuples(st.integers(0, 90 * SECOND), st.integers(1, 5)), max_size=80), st.integers(0, 90 * SECOND))
def test_a_rate_is_what_happened_over_the_time_that_it_took(steps, idle):
    rates = Rates()
    now = NOW
    happened: list[tuple[int, int]] = []
    rates.begin(now)
    for pause, number in steps:
        now += pause
        rates.begin(now)
        rates.count([SUBMITTED] * number)
        happened.append((now, number))
    now += idle
    for name, seconds in WINDOWS.items():
        since = (now // SECOND - seconds) * SECOND
        number = sum(number for at, number in happened if at >= since)
        spent = max(SECOND, now - max(since, NOW))
        assert rates.per_second(now)[name]["submitted"] == round(number * SECOND / spent, 3)


def test_the_ring_is_bounded():
    rates = Rates()
    for second in range(5 * KEPT):
        rates.begin(NOW + second * SECOND)
        rates.count([SUBMITTED])
    assert len(rates._seconds) == len(rates._then) <= KEPT + SLACK
    assert rates.per_second(NOW + (5 * KEPT - 1) * SECOND)["10m"]["submitted"] == round((KEPT + 1) / KEPT, 3)
    assert set(rates.totals()) == set(KINDS)
