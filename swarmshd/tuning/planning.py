"""What is wanted against what is: the list of changes, what cannot be had, and what there is to say.

Values come from options, or from a profile. The profile ``report`` has none: on most disks the kernel's choice is
right, and where it is not, that is said. ``journal`` has those for many small writes with a sync each, by the class of
the disk.
"""

from typing import NamedTuple

from swarmshd.tuning.attributes import (
    DEPTH_MAX,
    NOMERGES,
    NR_REQUESTS,
    READ_AHEAD,
    RQ_AFFINITY,
    SCHEDULER,
    TUNABLE,
    WBT,
    WBT_DEFAULT,
    Wanted,
)
from swarmshd.tuning.devices import Device, Node
from swarmshd.tuning.stack import Stack

REPORT, JOURNAL = "report", "journal"
PROFILES = {
    REPORT: "changes nothing; says where the kernel's choice is not right",
    JOURNAL: "for many small writes, each with its sync",
}

_FLASH = "flash needs no order made by a scheduler"
_REASONS = {
    "nvme": _FLASH,
    "nvme-path": _FLASH,
    "ssd": "one queue, and reads must not starve writes",
    "mmc": "one queue, and reads must not starve writes",
    "hdd": "a disk that turns needs an order, and a deadline",
    "virtual": "below it another host orders the requests; one queue is bounded by a deadline",
}


class Change(NamedTuple):
    """One value of one device that is not as it is wanted."""

    node: Node
    attribute: str
    current: str
    wanted: str
    why: str


class Plan:
    """What would be done."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.refused: list[str] = []
        self.remarks: list[str] = []
        self.values: dict[Node, dict[str, str]] = {}
        """What each is to have, changed or not."""
        self.sequences: dict[str, str] = {}
        """The disk sequence of each, when it was looked at."""


def profiled(device: Device) -> dict[str, str]:
    """What the profile ``journal`` wants of a disk, by its class and its hardware queues."""
    many = device.queues > 1
    if device.kind in {"nvme", "nvme-path"}:
        return {SCHEDULER: "none", RQ_AFFINITY: "1", NOMERGES: "0"}
    if device.kind == "virtual" and not many and device.value(SCHEDULER) in {"none", "mq-deadline"}:
        return {}
    if device.kind in {"ssd", "mmc", "virtual"}:
        return {SCHEDULER: "none" if many else "mq-deadline"}
    if device.kind == "hdd":
        return {SCHEDULER: "none"} if many else {SCHEDULER: "mq-deadline", NR_REQUESTS: "128"}
    return {}


def advice(device: Device) -> str:
    """Whether the scheduler that a disk has now is right for a journal, in a sentence."""
    current, right = device.value(SCHEDULER), profiled(device).get(SCHEDULER)
    if device.kind == "zoned":
        return f"{device.name}: {current} stays; with zones only the kernel knows what keeps the order"
    if right is None or current == right:
        return f"{device.name}: {current} is right"
    if right not in device.schedulers:
        return f"{device.name}: {current} stays; {right} would be right, and this kernel does not have it ready"
    why = "queues of its own" if device.queues > 1 else _REASONS[device.kind]
    if current == "bfq":
        why = "bfq shares a disk out among programs, and each sync waits for its turn"
    return (
        f"{device.name}: {current} is not right for a journal, {right} would be ({why}): "
        f"--scheduler {right}, or --profile journal"
    )


def plan(stack: Stack, given: dict[str, Wanted], profile: str) -> Plan:
    """The plan for a stack.

    Args:
        stack: where.
        given: values from options, by attribute; they go before the profile's.
        profile: the name of a profile.
    """
    made = Plan()
    made.remarks += [f"{name}: {value.remark}" for name, value in given.items() if value.remark]
    for device in stack.queues:
        _plan_queue(made, device, given, profile)
    if READ_AHEAD in given:
        for node in stack.tops:
            _one(made, node, READ_AHEAD, given[READ_AHEAD].value, "given")
    of_queue = set(given) - {READ_AHEAD}
    if (of_queue and not stack.queues) or (READ_AHEAD in given and not stack.tops):
        made.refused.append(_nothing(stack))
    return made


def _nothing(stack: Stack) -> str:
    names = [place.node.name for place in stack.places]
    if not names:
        return f"there is no disk below {stack.name} that could be tuned"
    if any(place.node.kind == "loop" for place in stack.places):
        return f"{', '.join(names)}: a loop device is tuned only when it is named: --device DEV"
    return f"{', '.join(names)}: no scheduler to choose, requests are handed on as they come; leave it as it is"


def _plan_queue(made: Plan, device: Device, given: dict[str, Wanted], profile: str) -> None:
    wanted = {name: (value.value, "given") for name, value in given.items() if name != READ_AHEAD}
    if profile == JOURNAL:
        for name, value in profiled(device).items():
            if name == SCHEDULER and value not in device.schedulers:
                made.remarks.append(
                    f"{device.name}: the profile wants {value}, which this kernel does not have ready; left"
                )
            else:
                wanted.setdefault(name, (value, f"profile {profile}"))
    elif not given:
        made.remarks.append(advice(device))
    scheduler = wanted.get(SCHEDULER, (device.value(SCHEDULER), ""))[0]
    changes = scheduler != device.value(SCHEDULER)
    for name in TUNABLE:
        if name in wanted:
            value, why = wanted[name]
            _one(made, device, name, value, why, scheduler=scheduler, again=changes and name == NR_REQUESTS)
    if changes and NR_REQUESTS not in wanted and scheduler in device.schedulers:
        made.remarks.append(
            f"{device.name}: nr_requests becomes what the kernel gives to {scheduler}; revert puts it back"
        )


def _one(
    made: Plan, node: Node, name: str, value: str, why: str, *, scheduler: str | None = "", again: bool = False
) -> None:
    """Look at one value of one device; ``again``: it is written though it is the same, since it will have changed."""
    made.sequences.setdefault(node.name, node.sequence)
    current = node.value(name)
    if current is None:
        made.refused.append(f"{node.name}: it has no {name}; leave that option out")
        return
    if (reason := impossible(node, name, value, scheduler)) is not None:
        made.refused.append(f"{node.name}: {reason}")
        return
    made.values.setdefault(node, {})[name] = value
    if again or not same(node, name, current, value):
        made.changes.append(Change(node, name, current, value, why))


def impossible(node: Node, name: str, value: str, scheduler: str | None) -> str | None:
    """Why a device cannot have a value that others can; ``scheduler`` is the one that it will have then."""
    if name == SCHEDULER and value not in node.schedulers:
        return (
            f"the scheduler {value} is not there (there are {', '.join(node.schedulers)}); no module is loaded for it "
            f"by itself: modprobe {value if value == 'bfq' else value + '-iosched'}, if this kernel has it"
        )
    if name == NR_REQUESTS:
        most = node.depth if scheduler == "none" and node.depth is not None else DEPTH_MAX
        if int(value) > most:
            return f"nr_requests {value} is more than {most}, what the disk itself takes without a scheduler"
    return None


def same(node: Node, name: str, current: str, value: str) -> bool:
    """Whether the kernel's value is the wanted one."""
    if name == WBT and value == "-1" and isinstance(node, Device):
        return current == WBT_DEFAULT.get(node.read("queue/rotational") or "")
    return current == value
