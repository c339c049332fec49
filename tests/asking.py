"""What the machine of test_rules_machine asks for: for each verb its arguments, sound ones and some that are not."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from swarmshd import protocol
from swarmshd.protocol import MINTED_PREFIX, PRIORITIES, STATES
from tests.rules import MINUTE, NOW, SECOND

numbers = st.integers(1, 40)
refs = st.sampled_from(["r1", "r2", "r3", "work_9"])
references = st.one_of(*[numbers] * 8, refs, numbers.map("work_{}".format))
agents = st.sampled_from(["a", "b", "c", "d", "e"])
queues = st.sampled_from(["default", "p", "p", "q", "o"])
kinds = st.sampled_from(["t", "u"])
locks = st.sampled_from(["one", "two", "l"])
labels = st.lists(st.sampled_from(["l", "m"]), max_size=2)
uids = st.sampled_from([1, 1, 1, 1, 1, 2])
watches = st.sampled_from([(71, 1), (71, 1), (72, 2)])
texts = st.sampled_from(["", "x", "y", "a\0b\n'\"", "é" * 10, "longer than it may be"])
blobs = st.sampled_from([b"", b"\0\xff", b"w", b"x" * 20, b"x" * 20, b"y" * 21])
instants = st.sampled_from([0, *(NOW + 7 * 24 * 60 * MINUTE + later for later in (0, 1, 12 * SECOND, 5 * MINUTE))])
durations = st.sampled_from([0, 1, SECOND, 12 * SECOND, 5 * MINUTE])
spans = st.sampled_from([1, SECOND, 12 * SECOND, 40 * SECOND, 5 * MINUTE])
"""Durations that may not be 0."""
words = st.sampled_from(["n", "a\0b", "é"])


def some(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Arguments of which any may be left out."""
    return st.fixed_dictionaries({}, optional=optional)


PLAIN = some(
    priority=st.sampled_from(PRIORITIES), queue=queues, payload=blobs, type=kinds, group=st.sampled_from(["g", "h"])
)  # fmt: skip
RARE: dict[str, st.SearchStrategy[Any]] = {
    "team": st.sampled_from(["x", "y"]),
    "delay": durations,
    "after": st.lists(references, min_size=1, max_size=3),
    "on_failure": st.sampled_from(protocol.ON_FAILURE),
    "require": labels,
    "ref": refs,
    "unique": st.sampled_from(["u", "v"]),
    "unique_strict": st.booleans(),
    "max_attempts": st.sampled_from([1, 2]),
    "lease": spans,
    "max_runtime": spans,
    "description": texts,
}
"""With all of them at once hardly an item could ever be claimed."""


@st.composite
def submits(draw: Callable[[Any], Any]) -> dict[str, Any]:
    """Arguments of a submit, with at most three that are out of the ordinary."""
    names = draw(st.lists(st.sampled_from(sorted(RARE)), max_size=3, unique=True))
    return {**draw(PLAIN), **{name: draw(RARE[name]) for name in names}}


SUBMITS = submits()
PROOFS = some(token=st.integers(0, 5), agent=agents)
CHANGES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "submit": SUBMITS,
    "claim": some(
        agent=agents, queue=st.one_of(st.just("*"), st.lists(queues, max_size=2)), type=st.lists(kinds, max_size=1),
        team=st.just(["x"]), count=st.integers(1, 4), lease=spans, resume=st.booleans(), id=references,
    ),
    "claim_new": some(
        agent=agents, queue=queues, payload=blobs, group=st.just("g"), ref=refs, lease=spans, max_runtime=spans,
    ),
    "heartbeat": some(agent=agents, ids=st.lists(references, max_size=3), token=st.integers(0, 5)),
    "progress": some(percent=st.integers(0, 100), status=words, message=words, checkpoint=blobs),
    "complete": some(note=words, points=st.integers(0, 9), output=blobs, result=blobs, exit_status=st.integers(0, 2)),
    "fail": some(reason=words, retry_after=durations, no_retry=st.booleans(), output=blobs),
    "release": some(delay=durations, note=words),
    "bury": some(reason=words, output=blobs),
    "kick": st.one_of(
        some(id=references), some(queue=queues, count=st.integers(0, 5)), some(group=st.just("g"), id=references)
    ),
    "cancel": st.one_of(some(id=references, reason=words), some(group=st.sampled_from(["g", "h"]))),
    "edit": some(priority=st.sampled_from(PRIORITIES), queue=queues, delay=durations),
    "lock": some(agent=agents, name=locks, lease=spans),
    "unlock": some(name=locks, token=st.integers(0, 5), agent=agents, force=st.booleans()),
    "register": some(
        agent=agents, slots=st.integers(0, 2), labels=labels, heartbeat=durations, takeover=st.booleans()
    ),
    "queue_set": some(
        queue=queues, closed=st.booleans(), limit=st.integers(0, 2), max_length=st.sampled_from([0, 2, 6]),
        lease=spans, max_attempts=st.integers(0, 2), crash_cap=st.integers(0, 2), stall_after=durations,
    ),
    "pause": st.one_of(
        st.just({"queue": "p"}), st.fixed_dictionaries({"queue": st.just("p"), "lasts": spans}),
        st.fixed_dictionaries({"all": st.just(True)}, optional={"hard": st.booleans(), "lasts": spans}),
    ),
    "clear": some(
        queue=queues, state=st.lists(st.sampled_from(STATES), max_size=2), older=durations, held=st.booleans(),
        reason=words, after_id=st.integers(0, 40),
    ),
    "resume": st.sampled_from([{"queue": "p"}, {"all": True}, {"all": True}]),
    "quiet": some(agent=agents),
    "wake": some(agent=agents),
    "evict": some(agent=agents),
}  # fmt: skip
NEEDED: dict[str, dict[str, Any]] = {
    "submit": {"type": "t", "description": "d"},
    "claim": {"agent": "a", "queue": "*"},
    "claim_new": {"agent": "a", "type": "t", "description": "d"},
    "lock": {"agent": "a", "name": "l"},
    "unlock": {"name": "l"},
    "register": {"agent": "a"},
    "queue_set": {"queue": "p"},
    "clear": {"queue": "p"},
    "quiet": {"agent": "a"},
    "wake": {"agent": "a"},
    "evict": {"agent": "a"},
}
"""What a verb cannot do without, where it is left out."""
ENDING = ("complete", "complete", "complete", "fail", "release", "bury", "progress")
"""What becomes of most that is claimed."""
HOLDING = ("progress", "complete", "fail", "release", "bury", "hold")
MENDING = tuple(verb for verb in CHANGES if verb not in ("submit", "claim", *HOLDING))
minted = st.integers(0, 9).map(f"{MINTED_PREFIX}{{}}".format)
keys = st.one_of(st.none(), st.none(), st.none(), st.sampled_from(["k1", "k2", "k3"]), minted)


@st.composite
def wishes(draw: Callable[[Any], Any], verbs: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """A verb and its arguments."""
    verb = draw(st.sampled_from(verbs))
    return verb, draw(CHANGES[verb])


SELECTIONS = some(
    state=st.lists(st.sampled_from(STATES), max_size=2, unique=True),
    queue=st.lists(st.one_of(queues, queues, st.just("@lock")), max_size=2),
    type=st.lists(kinds, max_size=1), team=st.lists(st.just("x"), max_size=1), agent=agents,
    group=st.sampled_from(["g", "h"]), all=st.booleans(), older=durations, since=instants,
)  # fmt: skip
