"""Law 6: no reply, reads included, shows what a crash could take back. (More of it under SIGKILL, with law 2.)"""

from tests.test_engine import NOW, Peer, ask, begin, crash, take


def test_a_read_waits_for_what_it_saw(directory):
    engine = begin(directory / "state").engine
    writer, reader = Peer(), Peer()
    take(engine, writer, 1, "submit", type="t", description="d")
    take(engine, reader, 1, "count")
    engine.advance(NOW)
    engine.write()
    assert not reader.replies
    engine.sync()
    assert not reader.replies
    engine.durable()
    assert reader.replies[0][2] == {"count": 1}
    engine.journal.close()


def test_moments_are_the_same_after_a_crash(directory):
    """Also those of a round that gathered for a while, during the sync of the one before."""
    engine = begin(directory / "state").engine
    peer = Peer()
    take(engine, peer, 1, "submit", type="t", description="first")
    engine.advance(NOW + 1)
    engine.write()
    take(engine, peer, 2, "submit", type="t", description="second")
    engine.advance(NOW + 2)
    take(engine, peer, 3, "claim", agent="a", count=2)
    engine.advance(NOW + 20)
    take(engine, peer, 4, "list")
    engine.advance(NOW + 50)
    engine.sync()
    engine.durable()
    engine.commit()
    told = next(result for number, _, result in peer.replies if number == 4)["items"]
    assert len(told) == 2
    after = begin(crash(engine, directory / "state"), wall=NOW + 50).engine
    shifted = ask(after, "list")["items"]
    for before, now in zip(told, shifted, strict=True):
        for name in ("created_at", "claimed_at", "attempt", "fence"):
            assert before[name] == now[name], name
    after.journal.close()
