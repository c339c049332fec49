"""A block device as sysfs has it.

Only a disk has a queue: a partition is part of one, and what device-mapper, md or bcache make has mostly none of its
own, so no ``scheduler`` either. What a device stands on are its ``slaves``; for a loop device, the file behind it; for
the head of an NVMe multipath, hidden disks.
"""

import os
import re
from collections.abc import Iterator
from functools import cached_property

from swarmshd.tuning.attributes import READ_AHEAD, SCHEDULER, TUNABLE, active, available
from swarmshd.tuning.host import Host

KINDS = {
    "partition": "a part of a disk",
    "nvme": "an NVMe disk",
    "nvme-path": "one path to an NVMe disk with several",
    "nvme-multipath": "an NVMe disk with several paths",
    "ssd": "a flash disk behind SATA or SAS",
    "hdd": "a disk that turns",
    "mmc": "a memory card or eMMC",
    "virtual": "a disk of the hypervisor's",
    "zoned": "a disk with zones that must be written in order",
    "crypt": "encryption (dm-crypt)",
    "lvm": "a logical volume (LVM)",
    "multipath": "a disk with several paths (dm-multipath)",
    "dm": "device-mapper",
    "md": "software RAID (md)",
    "bcache": "a disk with a cache before it (bcache)",
    "btrfs": "a btrfs file system",
    "loop": "a file that is used as a disk",
    "zram": "compressed memory",
    "network": "a disk on another host (nbd, rbd, drbd)",
    "ram": "memory",
}
"""Each class of device, and what it is."""

_BY_NAME = {"loop": "loop", "zram": "zram", "nbd": "network", "rbd": "network", "drbd": "network", "ram": "ram"}
_BY_UUID = {"CRYPT-": "crypt", "LVM-": "lvm", "mpath-": "multipath"}
_HYPERVISORS = {"qemu", "vmware", "msft", "google", "xen", "vbox", "amazon", "nutanix"}
_SECTOR = 512


class Device:
    """One device, by its directory in sysfs."""

    def __init__(self, host: Host, path: str) -> None:
        self.host = host
        self.path = host.resolved(path)
        self.name = os.path.basename(self.path).replace("!", "/")

    @classmethod
    def numbered(cls, host: Host, number: str) -> "Device | None":
        """The device with that ``major:minor``."""
        path = f"/sys/dev/block/{number}"
        return cls(host, path) if host.exists(path) else None

    @classmethod
    def named(cls, host: Host, name: str) -> "Device | None":
        """The device of that name; ``/dev/`` and links below it are followed."""
        if "/" in name:
            name = host.resolved(name).removeprefix("/dev/")
        name = name.replace("/", "!")
        for directory in ("/sys/class/block", "/sys/block"):
            if name not in {"", ".", ".."} and host.exists(f"{directory}/{name}"):
                return cls(host, f"{directory}/{name}")
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    def read(self, name: str) -> str | None:
        """A file of its directory."""
        return self.host.read(f"{self.path}/{name}")

    def has(self, name: str) -> bool:
        """Whether there is such a file or directory."""
        return self.host.exists(f"{self.path}/{name}")

    # -- what it is ------------------------------------------------------------------------------------

    @cached_property
    def kind(self) -> str:
        """Its class, one of ``KINDS``."""
        stem = re.sub(r"[0-9].*", "", self.name)
        if self.has("partition"):
            return "partition"
        if stem == "dm-":
            uuid = self.read("dm/uuid") or ""
            return next((kind for head, kind in _BY_UUID.items() if uuid.startswith(head)), "dm")
        if self.has("md"):
            return "md"
        if self.has("bcache") and stem == "bcache":
            return "bcache"
        if stem in _BY_NAME:
            return _BY_NAME[stem]
        if (self.read("queue/zoned") or "none") != "none":
            return "zoned"
        if stem == "nvme":
            if re.fullmatch(r"nvme\d+c\d+n\d+", self.name):
                return "nvme-path"
            return "nvme-multipath" if self._paths() else "nvme"
        if self._virtual(stem):
            return "virtual"
        if stem == "mmcblk":
            return "mmc"
        return "hdd" if self.read("queue/rotational") == "1" else "ssd"

    def _virtual(self, stem: str) -> bool:
        """Whether a hypervisor made it: then nobody here knows whether anything turns."""
        if stem in {"vd", "xvd"} or re.search(r"/(virtio|vbd-|vmbus)", self.path, re.IGNORECASE):
            return True
        return (self.read("device/vendor") or "").lower() in _HYPERVISORS

    @property
    def detail(self) -> str:
        """What it is called by those who made it: a volume's name, a level of RAID, a model."""
        level = self.read("md/level")
        return self.read("dm/name") or level or self.read("loop/backing_file") or self.read("device/model") or ""

    @property
    def number(self) -> str:
        """``major:minor``."""
        return self.read("dev") or ""

    @property
    def sequence(self) -> str:
        """Tells it from another disk that had or will have the same name; empty before Linux 5.15."""
        return self.read("diskseq") or ""

    @property
    def bytes(self) -> int:
        """How large it is."""
        size = self.read("size") or ""
        return int(size) * _SECTOR if size.isdigit() else 0

    # -- its values ------------------------------------------------------------------------------------

    def file(self, attribute: str) -> str:
        """Where a value is."""
        assert attribute in TUNABLE
        return f"{self.path}/queue/{attribute}"

    def value(self, attribute: str) -> str | None:
        """A value as it is now; of the scheduler, the one in brackets. None where there is none."""
        text = self.host.read(self.file(attribute))
        return active(text) if attribute == SCHEDULER else text

    def values(self) -> dict[str, str]:
        """All values that it has."""
        found = {attribute: self.value(attribute) for attribute in TUNABLE}
        return {attribute: value for attribute, value in found.items() if value is not None}

    @property
    def schedulers(self) -> list[str]:
        """The schedulers that it may have now."""
        return available(self.host.read(self.file(SCHEDULER)))

    @property
    def scheduled(self) -> bool:
        """Whether it has a queue with a scheduler to choose."""
        return self.value(SCHEDULER) is not None

    @property
    def queues(self) -> int:
        """Its hardware queues."""
        return sum(name.isdigit() for name in self.host.names(f"{self.path}/mq"))

    @property
    def depth(self) -> int | None:
        """How many requests a hardware queue takes itself: the bound without a scheduler."""
        tags = self.read("mq/0/nr_tags") or ""
        return int(tags) if tags.isdigit() else None

    # -- what is below and above -----------------------------------------------------------------------

    def below(self) -> list["Device"]:
        """What it stands on, but for the file behind a loop device."""
        if self.has("partition"):
            return [Device(self.host, os.path.dirname(self.path))]
        slaves = [Device.named(self.host, name) for name in self.host.names(f"{self.path}/slaves")]
        return [slave for slave in slaves if slave is not None] or self._paths()

    def _paths(self) -> list["Device"]:
        """The hidden disks behind the head of an NVMe multipath."""
        found = re.fullmatch(r"nvme(\d+)n(\d+)", self.name)
        if not found:
            return []
        names = self.host.names(f"{self.path}/multipath") or [
            name for name in self.host.names("/sys/block") if re.fullmatch(rf"nvme{found[1]}c\d+n{found[2]}", name)
        ]
        paths = [Device.named(self.host, name) or self._sibling(name) for name in names]
        return [path for path in paths if path is not None]

    def _sibling(self, name: str) -> "Device | None":
        path = f"{self.path}/multipath/{name}"
        return Device(self.host, path) if self.host.exists(path) else None

    def above(self) -> Iterator["Device"]:
        """Itself and all that stands on it: partitions, and what they and it are part of."""
        seen: set[Device] = set()
        waiting: list[Device] = [self]
        while waiting:
            device = waiting.pop()
            if device in seen:
                continue
            seen.add(device)
            yield device
            inner = [f"{device.path}/{name}" for name in self.host.names(device.path)]
            waiting += [Device(self.host, path) for path in inner if self.host.exists(f"{path}/partition")]
            holders = [Device.named(self.host, name) for name in self.host.names(f"{device.path}/holders")]
            waiting += [holder for holder in holders if holder is not None]
            head = re.fullmatch(r"(nvme\d+)c\d+(n\d+)", device.name)
            above = Device.named(self.host, head[1] + head[2]) if head else None
            waiting += [above] if above is not None else []


class Btrfs:
    """A btrfs file system, which reads ahead by a value of its own."""

    kind = "btrfs"
    schedulers: list[str] = []
    scheduled = False
    queues = 0
    depth = None
    sequence = ""
    number = ""
    bytes = 0

    def __init__(self, host: Host, uuid: str) -> None:
        self.host = host
        self.uuid = uuid
        self.name = f"btrfs:{uuid}"
        self.path = f"/sys/fs/btrfs/{uuid}"
        self.detail = host.read(f"{self.path}/label") or ""

    def file(self, attribute: str) -> str:
        """Where a value is; it has but one."""
        assert attribute == READ_AHEAD
        return f"{self.path}/bdi/{attribute}"

    def value(self, attribute: str) -> str | None:
        """A value as it is now."""
        return self.host.read(self.file(attribute)) if attribute == READ_AHEAD else None

    def values(self) -> dict[str, str]:
        """All values that it has."""
        value = self.value(READ_AHEAD)
        return {} if value is None else {READ_AHEAD: value}

    def below(self) -> list[Device]:
        """The devices that it is spread over."""
        found = [Device.named(self.host, name) for name in self.host.names(f"{self.path}/devices")]
        return [device for device in found if device is not None]


Node = Device | Btrfs


def node_named(host: Host, name: str) -> Node | None:
    """The device or file system that was recorded under that name."""
    if name.startswith("btrfs:"):
        found = Btrfs(host, name.removeprefix("btrfs:"))
        return found if host.exists(found.path) else None
    return Device.named(host, name)
