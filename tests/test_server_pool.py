"""Busy places: who has one, who waits, and for how long. Time is an argument; the sockets are real."""

import socket
from collections.abc import Iterator

import pytest

from swarmshd.commands import Actor
from swarmshd.engine import OWED_MAX
from swarmshd.server.connection import Connection
from swarmshd.server.pool import Pool

Make = list[Connection]


@pytest.fixture
def connections() -> Iterator[Make]:
    pairs = [socket.socketpair() for _ in range(6)]
    yield [Connection(ours, Actor(0, 1), frozenset(("read",)), 1 << 20) for ours, _ in pairs]
    for pair in pairs:
        for end in pair:
            end.close()


def asks(pool: Pool, connection: Connection, places: int, now: int = 0) -> bool:
    connection.in_flight += 1
    return pool.take(connection, places, 100, now)


def test_who_is_busy_keeps_its_place_and_others_wait_in_line(connections: Make) -> None:
    pool = Pool()
    a, b, c, d, *_ = connections
    assert asks(pool, a, 2)
    assert asks(pool, b, 2)
    assert asks(pool, a, 2)
    assert not asks(pool, c, 2, now=10)
    assert not asks(pool, d, 2, now=11)
    assert not asks(pool, c, 2, now=12), "it waits already"
    assert (pool.waits, pool.bytes, pool.peak) == (2, 300, 2)
    pool.leave()
    assert list(pool.admit(2, now=20)) == []
    a.in_flight = 0
    pool.leave()
    assert list(pool.admit(2, now=30)) == [c]
    assert (pool.waited_ms, pool.longest_ms, pool.bytes) == (20, 20, 100)
    assert not asks(pool, a, 2, now=31), "who waited goes before who comes anew"
    assert list(pool.admit(4, now=32)) == [d, a], "more places are given at once"


def test_who_waits_for_an_item_or_takes_no_replies_is_not_busy(connections: Make) -> None:
    pool = Pool()
    a, b, c, *_ = connections
    for each in (a, b):
        assert asks(pool, each, 2)
    a.aside = 1
    b.owed = OWED_MAX + 1
    pool.leave()
    assert pool.tell(2)["pool_in_use"] == 0
    assert asks(pool, c, 1)


def test_who_has_waited_for_too_long_is_let_go(connections: Make) -> None:
    pool = Pool()
    a, b, c, *_ = connections
    asks(pool, a, 1)
    asks(pool, b, 1, now=10)
    asks(pool, c, 1, now=50)
    assert list(pool.overdue(9, now=109)) == []
    assert list(pool.overdue(10, now=110)) == [b]
    assert pool.since() == 50
    assert (pool.timeouts, pool.longest_ms) == (1, 100)


def test_who_has_gone_waits_no_more(connections: Make) -> None:
    pool = Pool()
    a, b, *_ = connections
    asks(pool, a, 1)
    asks(pool, b, 1)
    pool.forget(b)
    pool.forget(a)
    assert (pool.waiting, pool.bytes, pool.tell(1)["pool_in_use"]) == ({}, 0, 0)
