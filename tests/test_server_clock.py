"""Time as the daemon has it: it never goes back, follows a wall clock that is ahead, and no lease pays for that."""

from hypothesis import given
from hypothesis import strategies as st

from swarmshd.server.clock import LEAP, Clock
from tests.test_engine import NOW, ask, begin, turn

HOUR = 3_600_000


class Readings:
    """The two clocks of a host."""

    def __init__(self) -> None:
        self.wall = NOW
        self.monotonic = 5_000_000

    def passes(self, ms: int) -> None:
        """Time passes."""
        self.wall += ms
        self.monotonic += ms

    def sleeps(self, ms: int) -> None:
        """The host sleeps: the monotonic clock stands still."""
        self.wall += ms

    def clock(self, start: int = NOW) -> Clock:
        """The daemon's clock over these."""
        return Clock(start, lambda: self.wall, lambda: self.monotonic)


def test_it_goes_on_with_the_monotonic_clock():
    host = Readings()
    clock = host.clock()
    assert clock.now() == NOW
    host.passes(1234)
    assert clock.now() == NOW + 1234
    assert clock.leap(clock.now()) == 0


def test_a_small_lead_is_not_followed_and_a_large_one_is():
    for lead, expected in [(LEAP, 0), (LEAP + 1, LEAP + 1), (HOUR, HOUR)]:
        host = Readings()
        clock = host.clock()
        host.passes(1000)
        host.sleeps(lead)
        assert clock.leap(clock.now()) == expected
        assert clock.now() == NOW + 1000 + expected
        host.passes(1000)
        assert clock.leap(clock.now()) == 0


def test_the_wall_clock_is_looked_at_once_a_second():
    host = Readings()
    clock = host.clock()
    host.sleeps(HOUR)
    host.passes(999)
    assert clock.leap(clock.now()) == 0
    host.passes(1)
    assert clock.leap(clock.now()) == HOUR


def test_a_wall_clock_that_was_set_back_is_not_followed():
    host = Readings()
    clock = host.clock()
    host.passes(5000)
    host.wall -= 10 * HOUR
    assert clock.leap(clock.now()) == 0
    host.passes(5000)
    assert clock.now() == NOW + 10_000
    assert clock.leap(clock.now()) == 0
    host.wall += 10 * HOUR  # and it is set right again
    host.passes(1000)
    assert clock.leap(clock.now()) == 0


def test_it_starts_at_the_journal_s_time_when_that_is_ahead():
    host = Readings()
    clock = host.clock(NOW + HOUR)
    assert clock.now() == NOW + HOUR
    host.passes(2000)
    assert clock.leap(clock.now()) == 0
    assert clock.now() == NOW + HOUR + 2000


@given(st.lists(st.tuples(st.sampled_from(["passes", "sleeps", "back"]), st.integers(0, 10 * HOUR)), max_size=30))
def test_it_never_goes_back(steps):
    host = Readings()
    clock = host.clock()
    last = clock.now()
    for what, ms in steps:
        if what == "back":
            host.wall -= ms
        else:
            getattr(host, what)(ms)
        gap = clock.leap(clock.now())
        assert gap == 0 or gap > LEAP
        assert clock.now() >= last + gap
        last = clock.now()


def held(engine, **more):
    """A claimed item."""
    number = ask(engine, "submit", type="t", description="d", **more)["id"]
    ask(engine, "claim", agent="a", lease=60_000, id=number)
    return number


def test_a_leap_shifts_leases_and_runtimes_and_nothing_else(directory):
    engine = begin(directory / "state").engine
    host = Readings()
    clock = host.clock()
    leased, capped = held(engine), held(engine, max_runtime=30_000)
    later = ask(engine, "submit", type="t", description="d", delay=HOUR)["id"]
    until = ask(engine, "show", id=leased)["lease_until"]
    host.passes(10_000)
    host.sleeps(2 * HOUR)
    now = clock.now()
    gap = clock.leap(now)
    assert gap == 2 * HOUR
    engine.shift_clock(now + gap, gap)
    turn(engine, now + gap)
    assert ask(engine, "show", id=leased)["lease_until"] == until + gap
    assert ask(engine, "show", id=leased)["state"] == "claimed"
    assert ask(engine, "show", id=capped)["state"] == "claimed"
    assert ask(engine, "show", id=later)["state"] == "ready"  # a delay is meant in the time of the wall
    turn(engine, now + gap + 20_001)
    assert ask(engine, "show", id=capped)["failures"] == 1
    turn(engine, now + gap + 50_001)
    item = ask(engine, "show", id=leased)
    assert (item["state"], item["crashes"]) == ("ready", 0)  # within a lease of the leap: an outage
    engine.journal.close()


def test_a_leap_while_a_sync_is_under_way_is_written_with_the_next_round(directory):
    engine = begin(directory / "state").engine
    number = held(engine)
    until = ask(engine, "show", id=number)["lease_until"]
    ask(engine, "submit", type="t", description="d")
    engine.take(*_request(engine))
    engine.advance(NOW)
    assert engine.write()
    engine.shift_clock(NOW + HOUR, HOUR)
    engine.advance(NOW + HOUR)
    engine.sync()
    engine.durable()
    turn(engine, NOW + HOUR)
    assert ask(engine, "show", id=number)["lease_until"] == until + HOUR
    engine.close(NOW + HOUR)
    again = begin(directory / "state", wall=NOW + HOUR).engine
    assert ask(again, "show", id=number)["lease_until"] == until + HOUR
    again.journal.close()


def _request(engine):
    from swarmshd import commands
    from tests.test_engine import Peer

    request = commands.structure("submit", {"type": "t", "description": "d"}, 0)
    return Peer(), 1, request, (), 100, NOW


def test_a_downtime_shifts_leases_as_well(directory):
    engine = begin(directory / "state").engine
    number = held(engine)
    until = ask(engine, "show", id=number)["lease_until"]
    engine.close(NOW + 1000)
    engine = begin(directory / "state", wall=NOW + HOUR).engine
    assert ask(engine, "show", id=number)["lease_until"] == until + HOUR - 1000
    engine.close(NOW + HOUR)
    engine = begin(directory / "state", wall=NOW).engine  # the wall clock was set back: time is not
    assert ask(engine, "status")["now"] >= NOW + HOUR
    assert ask(engine, "show", id=number)["state"] == "claimed"
    engine.journal.close()
