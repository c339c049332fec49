"""A path or a device -> everything below it, and which of it has what can be tuned.

The scheduler and what belongs to a queue are those of the first device on the way down that has a scheduler to choose:
mostly the disk itself, for a request-based multipath that one and not its paths. Loop devices are passed by, unless
one is named. Reading ahead is decided at the top: by the device that is mounted, or by the file system.
"""

import os
from typing import NamedTuple

from swarmshd.tuning.devices import Btrfs, Device, Node
from swarmshd.tuning.host import EX_NOT_FOUND, Host, Refused, shown
from swarmshd.tuning.mounts import Mount, mount_of, mounts

DEEPEST = 16
"""Levels that are followed downwards; more are a circle."""

VOLATILE = {"tmpfs", "ramfs", "devtmpfs"}
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "ceph", "glusterfs", "afs", "lustre"}
POOLS = {"zfs", "bcachefs"}


class Place(NamedTuple):
    """A device in a stack."""

    node: Node
    level: int
    queue: bool
    """Its scheduler and queue are what is tuned."""
    top: bool
    """Its read_ahead_kb is what is tuned."""


class Stack:
    """What is below a path or a named device."""

    def __init__(self, host: Host, name: str) -> None:
        self.host = host
        self.name = name
        self.mount: Mount | None = None
        self.places: list[Place] = []
        self.notes: list[str] = []

    @property
    def queues(self) -> list[Device]:
        """The devices with the queues."""
        return [place.node for place in self.places if place.queue and isinstance(place.node, Device)]

    @property
    def tops(self) -> list[Node]:
        """What decides how far is read ahead."""
        return [place.node for place in self.places if place.top]

    def _add(self, node: Node, level: int, *, top: bool = False, queue: bool = True, loops: bool = False) -> None:
        """Take in a node and all below it."""
        if level > DEEPEST or any(place.node.path == node.path for place in self.places):
            return
        partition = node.kind == "partition"
        passed = node.kind == "loop" and not loops
        here = queue and node.scheduled and not passed
        self.places.append(Place(node, level, here, top and not partition))
        if isinstance(node, Device) and node.kind == "loop":
            self._behind(node, level + 1, queue=queue and not here)
        for each in node.below():
            self._add(each, level + 1, top=top and partition, queue=queue and not here, loops=loops and partition)

    def _behind(self, loop: Device, level: int, *, queue: bool) -> None:
        """What the file behind a loop device is on."""
        path = loop.read("loop/backing_file")
        if path is None:
            return
        try:
            self.follow(path, level, queue=queue, top=False)
        except Refused:
            self.notes.append(f"{loop.name}: the file behind it, {shown(path)}, is not to be seen from here")

    def follow(self, path: str, level: int = 0, *, queue: bool = True, top: bool = True) -> None:
        """Take in what ``path`` is on."""
        mount = mount_of(self.host, path)
        if level == 0:
            self.mount = mount
        kind = mount.kind
        if kind in VOLATILE:
            self.notes.append(f"{mount.point} is memory ({kind}): what is written there is gone with the next start")
        elif kind in NETWORK or kind.startswith("fuse"):
            self.notes.append(
                f"{mount.point} is {kind}, no disk of this host: nothing to tune; how durable a sync is, is its own"
            )
        elif kind in POOLS:
            self.notes.append(
                f"{mount.point} is on the pool {shown(mount.source)} ({kind}); name its disks one by one: --device DEV"
            )
        elif kind == "overlay":
            self._upper(mount, level, queue=queue, top=top)
        elif kind == "btrfs":
            self._btrfs(mount, level, queue=queue, top=top)
        else:
            device = Device.numbered(self.host, mount.device)
            if device is None:
                what = f"{mount.point} ({kind}) is on the device {mount.device}"
                self.notes.append(f"{what}, which is not in /sys; name its disk: --device DEV")
            else:
                self._add(device, level, top=top, queue=queue)

    def _upper(self, mount: Mount, level: int, *, queue: bool, top: bool) -> None:
        upper = mount.options.get("upperdir", "")
        if not upper:
            self.notes.append(f"{mount.point} is an overlay that nothing can be written to")
        elif level > DEEPEST or not upper.startswith("/") or not self.host.exists(upper):
            self.notes.append(
                f"{mount.point} is an overlay, and its upper directory {shown(upper)} is not to be seen from here; "
                "look from outside of the container, or --device DEV"
            )
        else:
            self.follow(upper, level + 1, queue=queue, top=top)

    def _btrfs(self, mount: Mount, level: int, *, queue: bool, top: bool) -> None:
        device = Device.named(self.host, mount.source)
        for uuid in self.host.names("/sys/fs/btrfs"):
            if device is not None and device.name in self.host.names(f"/sys/fs/btrfs/{uuid}/devices"):
                self._add(Btrfs(self.host, uuid), level, top=top, queue=queue)
                return
        self.notes.append(f"{mount.point} is btrfs, and its devices are not in /sys/fs/btrfs; --device DEV")


def below_path(host: Host, path: str) -> Stack:
    """The stack below a path.

    Raises:
        Refused: there is no such path.
    """
    stack = Stack(host, path)
    stack.follow(path if host.here else os.path.abspath(path))
    return stack


def below_device(host: Host, name: str) -> Stack:
    """The stack below a device that somebody named; a loop device counts as a disk.

    Raises:
        Refused: there is no such device.
    """
    device = Device.named(host, name)
    if device is None:
        raise Refused(f"there is no block device {shown(name)}; lsblk lists them", EX_NOT_FOUND, "not_found")
    stack = Stack(host, name)
    stack._add(device, 0, top=True, loops=True)  # noqa: SLF001 - its own maker
    return stack


def nearest(path: str) -> str:
    """``path``, or what is there of it: a state directory is made at the daemon's first start."""
    while not os.path.exists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    return path


def carried(host: Host, device: Node) -> list[str]:
    """What lives on a disk: where its file systems are mounted, swap, and volumes that are neither."""
    above = list(device.above()) if isinstance(device, Device) else []
    numbers = {each.number for each in above} - {""}
    names = {each.name for each in above}
    pools = [set(host.names(f"/sys/fs/btrfs/{uuid}/devices")) for uuid in host.names("/sys/fs/btrfs")]
    names_of_pools = set().union(*(pool for pool in pools if pool & names))
    found: list[str] = []
    for mount in mounts(host):
        source = Device.named(host, mount.source) if mount.source.startswith("/dev/") else None
        on_pool = mount.kind == "btrfs" and source is not None and source.name in names_of_pools
        if mount.device in numbers or on_pool:
            found.append(mount.point)
    for line in host.lines("/proc/swaps")[1:]:
        swap = Device.named(host, line.partition(" ")[0])
        if swap is not None and swap.name in names:
            found.append("swap")
    return list(dict.fromkeys(found))
