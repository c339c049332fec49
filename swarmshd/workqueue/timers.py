"""What happens by itself: items come due, claims end, the fate of dependants, forgetting.

Each function gives the events of one entry and looks at no more than it is told to, so that a round stays
short however much has come due at once; whoever calls comes back while there is more.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

from swarmshd import events as e
from swarmshd.workqueue.deadlines import Deadlines
from swarmshd.workqueue.desk import Desk, due_among
from swarmshd.workqueue.governing import idle_agents
from swarmshd.workqueue.holding import failed, lost
from swarmshd.workqueue.policy import KEY_CHOSEN_KEPT, KEY_MINTED_KEPT
from swarmshd.workqueue.records import BLOCKED, CLAIMED, SCHEDULED, Claim, Item


def run_due(desk: Desk, deadlines: Deadlines, limit: int) -> Iterator[list[e.Event]]:
    """The events of what has come due, in groups that belong together."""
    due: list[int] = []
    for item in deadlines.due(desk.now, limit):
        if item.state == SCHEDULED:
            due.append(item.id)
        elif item.state == CLAIMED:
            yield [_claim_due(desk, item)]
    if due:
        yield [e.ItemsDue(due)]


def _claim_due(desk: Desk, item: Item) -> e.Event:
    claim = item.claim
    assert claim is not None
    name = claim.agent.name
    if claim.runtime_until is not None and claim.runtime_until <= desk.now:
        return failed(desk, item, f"max_runtime is over (held by {name})")
    if claim.until > desk.now:
        return e.ItemStalled(item.id)
    if claim.watch is not None:
        return lost(desk, item, _cause(desk, claim), f"{name} lives but was silent for STALL_AFTER")
    return lost(desk, item, _cause(desk, claim), f"the lease of {name} ended")


def _cause(desk: Desk, claim: Claim) -> int:
    """A lease that ends within its length after a start or a leap of the clock may have missed its renewals."""
    return e.OUTAGE if claim.until <= desk.tables.calm_at + claim.lease else e.CRASHED


def watch_ended(desk: Desk, watch: tuple[int, int], cause: int, limit: int) -> list[e.Event]:
    """The watched process is gone: at most ``limit`` of its items are free again, and the watch with the last."""
    items = [desk.tables.items[number] for number in list(desk.tables.watched.get(watch, ()))[:limit]]
    happened = [lost(desk, item, cause, f"process {watch[0]} of {_agent(item)} died") for item in items]
    if len(items) == len(desk.tables.watched.get(watch, ())):
        happened.append(e.WatchEnded(watch))
    return happened


def watch_unproven(desk: Desk, watch: tuple[int, int]) -> list[e.Event]:
    """Nobody can tell whether the process lives: its claims go on under their leases."""
    happened: list[e.Event] = []
    for number in desk.tables.watched.get(watch, ()):
        claim = desk.tables.items[number].claim
        assert claim is not None
        happened.append(e.ItemHeld(number, desk.now + claim.lease, None))
    happened.append(e.WatchEnded(watch, proven=False))
    return happened


def host_restarted(desk: Desk, limit: int) -> list[e.Event]:
    """The host came up anew: no process of before lives, and none of them is to blame."""
    before = desk.tables.boot_fence
    held = (item for agent in desk.tables.agents.values() for item in agent.holds.values())
    old = (item for item in held if item.claim is not None and item.claim.fence < before)
    return [e.ItemReturned(item.id, e.OUTAGE, None, "the host restarted") for item in islice(old, limit)]


def _agent(item: Item) -> str:
    return "nobody" if item.claim is None else item.claim.agent.name


def settle(desk: Desk, limit: int) -> Iterator[list[e.Event]]:
    """Decide the fate of those that waited for items that were buried or cancelled."""
    tables = desk.tables
    looked = 0
    while tables.cascade and looked < limit:
        item = tables.items.get(tables.cascade[0])
        happened: list[e.Event] = []
        if item is not None and item.state in ("buried", "cancelled"):
            happened = _fates(desk, item)
        happened.append(e.CascadeSettled(1))
        looked += 1 + len(item.dependants or () if item is not None else ())
        yield happened


def _fates(desk: Desk, item: Item) -> list[e.Event]:
    waiting = [desk.tables.items[number] for number in item.dependants or () if number in desk.tables.items]
    waiting = [found for found in waiting if found.state == BLOCKED and item.id in (found.waits or ())]
    fates: dict[str, list[Item]] = {"hold": [], "cancel": [], "run": []}
    for found in waiting:
        fates[found.option("on_failure", "hold")].append(found)
    reason = f"{item.id} is {item.state}"
    happened: list[e.Event] = [e.ItemCancelled(found.id, reason) for found in fates["cancel"]]
    if fates["hold"]:
        happened.append(e.ItemsBlocked([found.id for found in fates["hold"]], reason))
    if fates["run"]:
        ready = [found.id for found in fates["run"] if found.waits == {item.id}]
        happened.append(e.ItemsUnblocked(item.id, [found.id for found in fates["run"]], ready))
        happened += due_among(desk, ready)
    return happened


def forget(desk: Desk, limit: int) -> list[e.Event]:
    """Forget ended items that are too old, too many, or too large together."""
    tables, policy = desk.tables, desk.policy
    count = len(tables.ended)
    size = tables.ended_bytes
    gone: list[int] = []
    for number in tables.ended:
        item = tables.items[number]
        if (
            count <= policy.retain_done_items
            and size <= policy.retain_done_bytes
            and item.since + policy.retain_done > desk.now
        ):
            break
        if len(gone) >= limit:
            break
        gone.append(number)
        count -= 1
        size -= item.size()
    return [e.ItemsForgotten(gone)] if gone else []


def forget_keys(desk: Desk, limit: int) -> list[e.Event]:
    """Forget idempotency keys that are too old or too many; the oldest go first, minted ones before chosen ones."""
    chosen, minted = desk.tables.key_order
    excess = max(0, len(chosen) + len(minted) - desk.policy.keys_max)
    gone_minted = max(_older(minted, desk.now - KEY_MINTED_KEPT, limit), min(excess, limit, len(minted)))
    excess = max(0, excess - len(minted))
    gone_chosen = max(_older(chosen, desk.now - KEY_CHOSEN_KEPT, limit), min(excess, limit))
    return [e.KeysForgotten(gone_chosen, gone_minted)] if gone_chosen or gone_minted else []


def _older(order: Iterable[tuple[int, bytes]], instant: int, limit: int) -> int:
    count = 0
    for at, _ in order:
        if at >= instant or count >= limit:
            break
        count += 1
    return count


def forget_agents(desk: Desk) -> list[e.Event]:
    """Forget agents that never registered and that nobody misses."""
    names = idle_agents(desk)
    return [e.AgentsForgotten(names)] if names else []
