"""The changes made, looked at again, and undone. The one place that writes to sysfs.

A value is written only if it is another, read back, and compared with what was wanted: a write that succeeds proves
nothing. What else changed with it (a scheduler brings its own ``nr_requests``) is recorded with it, so that ``revert``
puts back all that was there, in the same order: the scheduler first. What somebody else has changed since is theirs.
"""

import errno
import os
from typing import NamedTuple

from swarmshd.tuning.attributes import NEVER, NR_REQUESTS, SCHEDULER, TUNABLE
from swarmshd.tuning.devices import Node, node_named
from swarmshd.tuning.host import Host
from swarmshd.tuning.planning import Change, Plan, same
from swarmshd.tuning.record import Entry, Record

_GONE = {errno.ENOENT, errno.ENODEV, errno.ENXIO}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


class Done(NamedTuple):
    """What became of one value: it is ``now`` that; ``fault`` says why it is not what it should be."""

    device: str
    attribute: str
    before: str
    now: str
    fault: str = ""
    denied: bool = False


class NotWritten(Exception):
    """The kernel did not take a value, or made another of it."""

    def __init__(self, message: str, *, denied: bool = False, gone: bool = False) -> None:
        super().__init__(message)
        self.denied = denied
        self.gone = gone


def write(node: Node, attribute: str, value: str) -> str:
    """Have a value be so, and give what the kernel has stored.

    Raises:
        NotWritten: it is not.
    """
    assert attribute in TUNABLE
    assert attribute not in NEVER
    current = node.value(attribute)
    if current is not None and same(node, attribute, current, value):
        return current
    try:
        fd = os.open(node.host.path(node.file(attribute)), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise _not_written(node, attribute, value, error) from None
    stored = node.value(attribute)
    if stored is None:
        raise NotWritten(f"{node.name} is gone", gone=True)
    if not same(node, attribute, stored, value):
        raise NotWritten(f"the kernel took {value}, and stored {stored}")
    return stored


def _not_written(node: Node, attribute: str, value: str, error: OSError) -> NotWritten:
    if error.errno in _GONE:
        return NotWritten(
            "it is gone" if not node.host.exists(node.path) else f"it has no {attribute} any more", gone=True
        )
    if error.errno == errno.EROFS:
        return NotWritten("/sys is read-only here (a container?); run it on the host itself", denied=True)
    if error.errno in _DENIED:
        return NotWritten("permission denied; it takes root", denied=True)
    if error.errno == errno.EINVAL:
        allowed = f"; it takes {', '.join(node.schedulers)}" if attribute == SCHEDULER else ""
        return NotWritten(f"the kernel refuses {value} (invalid argument){allowed}")
    return NotWritten(f"{value}: {error.strerror}")


# -- apply ---------------------------------------------------------------------------------------------


def apply(record: Record, made: Plan) -> list[Done]:
    """Carry out a plan; what became of each change, in order. After a fault the device's other values are left."""
    done: list[Done] = []
    nodes = list(dict.fromkeys(change.node for change in made.changes))
    for node in nodes:
        changes = [change for change in made.changes if change.node is node or change.node == node]
        found = _apply_to(record, node, changes, made.sequences.get(node.name, node.sequence))
        done += found
        if any(each.denied for each in found):
            rest = [change for change in made.changes if change.node not in nodes[: nodes.index(node) + 1]]
            return done + [_left(change, "not tried") for change in rest]
    return done


def _left(change: Change, why: str) -> Done:
    return Done(change.node.name, change.attribute, change.current, change.current, why)


def _apply_to(record: Record, node: Node, changes: list[Change], sequence: str) -> list[Done]:
    before = node.values()
    if not before:
        return [_left(change, "it is gone") for change in changes]
    if node.sequence != sequence:
        return [_left(change, "it is another disk than the one that was planned for") for change in changes]
    old = {name: entry.wanted for name, entry in record.of(node).items()}
    first = {name: record.first(node, name, value) for name, value in before.items()}
    asked = {change.attribute: change.wanted for change in changes}
    for name in before if SCHEDULER in asked else asked:
        record.begin(node, name, first[name], asked.get(name, ""))
    record.save()
    done: list[Done] = []
    for n, change in enumerate(changes):
        name = change.attribute
        try:
            done.append(Done(node.name, name, before[name], write(node, name, change.wanted)))
        except NotWritten as fault:
            now = node.value(name) or "gone"
            done.append(Done(node.name, name, before[name], now, str(fault), fault.denied))
            done += [_left(other, "not tried") for other in changes[n + 1 :]]
            break
    for name, value in node.values().items():
        if before.get(name) != value or (node.name, name) in record.entries:
            record.settle(node, name, first.get(name, value), value, asked.get(name) or old.get(name, ""))
    record.save()
    return done


# -- verify and revert ---------------------------------------------------------------------------------


def verify(host: Host, record: Record, names: set[str] | None = None) -> list[Done]:
    """Each value that was applied, with what it is now; a fault where that is another."""
    done = []
    for entry in record.entries.values():
        if (names is not None and entry.device not in names) or not entry.wanted:
            continue
        node = _same_device(host, entry)
        now = node.value(entry.attribute) if node is not None else None
        should = entry.after or entry.wanted
        fault = "" if now == should else ("the device is gone" if now is None else f"it was {should} after apply")
        done.append(Done(entry.device, entry.attribute, entry.before, now or "gone", fault))
    return done


def _same_device(host: Host, entry: Entry) -> Node | None:
    node = node_named(host, entry.device)
    return node if node is not None and node.sequence == entry.sequence else None


def revert(host: Host, record: Record, names: set[str] | None = None, *, force: bool = False) -> list[Done]:
    """Put back what was there before, where it is still as we left it; ``force`` puts it back in any case."""
    done: list[Done] = []
    for name in dict.fromkeys(entry.device for entry in record.entries.values()):
        if names is not None and name not in names:
            continue
        entries = [entry for entry in record.entries.values() if entry.device == name]
        node = _same_device(host, entries[0])
        if node is None:
            for entry in entries:
                record.forget(entry)
                done.append(Done(name, entry.attribute, entry.after or entry.wanted, "gone"))
        else:
            done += _revert(record, node, {entry.attribute: entry for entry in entries}, force=force)
    record.save()
    return done


def _revert(record: Record, node: Node, entries: dict[str, Entry], *, force: bool) -> list[Done]:
    """One device. All is looked at before anything is written, as the scheduler changes ``nr_requests``."""
    live = node.values()
    foreign = {name for name, entry in entries.items() if not _ours(entry, live.get(name)) and not force}
    if SCHEDULER in foreign:
        foreign |= {NR_REQUESTS} & set(entries)  # it is the other scheduler's
    done = []
    for name in TUNABLE:
        entry, now = entries.get(name), live.get(name)
        if entry is None or now is None:
            continue
        if name in foreign:
            done.append(
                Done(
                    node.name,
                    name,
                    now,
                    now,
                    f"somebody else has made it {now} since; left (--force puts back {entry.before})",
                )
            )
            continue
        try:
            stored = write(node, name, entry.before)
            record.forget(entry)
            if now != stored:
                done.append(Done(node.name, name, now, stored))
        except NotWritten as fault:
            done.append(Done(node.name, name, now, node.value(name) or "gone", str(fault), fault.denied))
    if NR_REQUESTS in live and (NR_REQUESTS not in entries or NR_REQUESTS in foreign) and SCHEDULER not in foreign:
        done += _kept(node, live[NR_REQUESTS])
    return done


def _ours(entry: Entry, now: str | None) -> bool:
    """Whether a value is what we made it, or what it was before; what was under way when we died may be anything."""
    return now in {entry.before, entry.after, entry.wanted} or (entry.after is None and not entry.wanted)


def _kept(node: Node, requests: str) -> list[Done]:
    """``nr_requests``, which is somebody else's, is the same again after the scheduler has changed it."""
    now = node.value(NR_REQUESTS) or "gone"
    try:
        write(node, NR_REQUESTS, requests)
    except NotWritten as fault:
        return [
            Done(node.name, NR_REQUESTS, requests, now, f"it was {requests}, by somebody else: {fault}", fault.denied)
        ]
    return []
