"""The values again after the next start of the host: a rule for udev, and a profile for tuned where that is at work.

udev sets values anew whenever somebody has written to a device, so what is to last has to be a rule of its own, and one
that comes last. It names the disk by what outlives reboots and other disks: a WWN, a serial number, the UUID of a
volume. Assignments of a rule are carried out from left to right: the scheduler first.

tuned sets a scheduler when it starts or its profile changes. Where it runs, a profile that includes the active one says
the same as the rule; writing the scheduler that is there already changes nothing, so the two do not fight.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from typing import NamedTuple

from swarmshd import __version__
from swarmshd.tuning.attributes import NEVER, READ_AHEAD, SCHEDULER, TUNABLE
from swarmshd.tuning.devices import Device, Node
from swarmshd.tuning.host import EX_DENIED, EX_FAILED, Host, Refused, shown

RULES = "/etc/udev/rules.d"
PREFIX = "99-swarmsh-"
MARK = "# Written by swarmsh-tune"
PROFILE = "swarmsh"

_KEYS = ("DM_UUID", "ID_WWN_WITH_EXTENSION", "ID_WWN", "ID_SERIAL")
"""What udev knows of a disk that stays the same; the most telling first."""
_FILES = ("wwid", "device/wwid", "serial")
"""The same, from sysfs, where udev has not looked."""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+ -]{2,199}")
"""What may stand in a rule as it is: neither quotes nor patterns."""


class Identity(NamedTuple):
    """What tells a disk from all others, for good."""

    match: str
    """For a rule."""
    known: str
    """``KEY=value`` as udev has it; empty where udev does not know it."""
    value: str

    @property
    def file(self) -> str:
        """The rule's file."""
        return f"{RULES}/{PREFIX}{re.sub('[^A-Za-z0-9.-]+', '_', self.value)}.rules"


def identity(device: Device) -> Identity:
    """What a disk is known by.

    Raises:
        Refused: nothing that outlives the host's run.
    """
    known = {}
    for line in device.host.lines(f"/run/udev/data/b{device.number}"):
        if line.startswith("E:"):
            key, _, value = line[2:].partition("=")
            known[key] = value.strip()
    if uuid := device.read("dm/uuid"):
        known["DM_UUID"] = uuid
    for key in _KEYS:
        if _PLAIN.fullmatch(known.get(key, "")):
            return Identity(f'ENV{{{key}}}=="{known[key]}"', f"{key}={known[key]}", known[key])
    for file in _FILES:
        value = device.read(file) or ""
        if _PLAIN.fullmatch(value):
            return Identity(f'ATTR{{{file}}}=="{value}"', "", value)
    raise Refused(
        f"{device.name}: it has neither WWN, serial number nor UUID, so no rule can tell it from others after a "
        "restart of the host; have swarmsh-tune.service apply the values instead",
    )


def rule(device: Device, values: dict[str, str]) -> str:
    """The text of the rule for a disk."""
    assert set(values) <= set(TUNABLE) - set(NEVER)
    needs = ["queue/scheduler"] if set(values) - {READ_AHEAD} else []
    parts = ['ACTION!="remove"', 'SUBSYSTEM=="block"', 'ENV{DEVTYPE}=="disk"', identity(device).match]
    parts += [f'TEST=="{each}"' for each in needs] + (['ATTR{queue/zoned}=="none"'] if needs else [])
    parts += [f'ATTR{{queue/{name}}}="{values[name]}"' for name in TUNABLE if name in values]
    head = f"{MARK} {__version__} for what was {device.name} then; `swarmsh-tune unpersist` removes it."
    return f"{head}\n{', '.join(parts)}\n"


class Kept(NamedTuple):
    """A file, and what became of it."""

    path: str
    said: str


def persist(host: Host, values: dict[Node, dict[str, str]]) -> tuple[list[Kept], list[str]]:
    """Write the rules, and tuned's profile; what was written, and what there is to say.

    Raises:
        Refused: a disk cannot be told from others, or a file not be written; nothing was written before that was known.
    """
    remarks = []
    disks: dict[Device, dict[str, str]] = {}
    for node, wanted in values.items():
        if isinstance(node, Device):
            disks[node] = wanted
        else:
            remarks.append(f"{node.name}: udev knows no file systems; have swarmsh-tune.service set its {READ_AHEAD}")
    texts = {identity(device).file: rule(device, wanted) for device, wanted in disks.items()}
    if active := _tuned(host):
        texts |= _profile(host, disks, active)
        remarks.append(f"tuned is at work with the profile {active}; now: tuned-adm profile {PROFILE}")
    kept = [_write(host, path, text) for path, text in texts.items()]
    return kept, remarks + _reload(host, kept)


def unpersist(host: Host, devices: Iterable[Device] | None = None) -> tuple[list[Kept], list[str]]:
    """Remove what ``persist`` has written, for these devices or all."""
    only = None if devices is None else {each.file for each in map(_identity_or_none, devices) if each is not None}
    paths = [f"{RULES}/{name}" for name in host.names(RULES) if name.startswith(PREFIX)]
    paths = [path for path in paths if only is None or path in only]
    remarks = []
    conf = f"{_profiles(host)}/{PROFILE}/tuned.conf"
    if only is None and host.exists(conf):
        paths.append(conf)
        if _tuned(host) == PROFILE:
            remarks.append(f"tuned still has the profile {PROFILE}; now: tuned-adm profile {_included(host, conf)}")
    kept = [_remove(host, path) for path in paths]
    return kept, remarks + _reload(host, kept)


def _identity_or_none(device: Device) -> Identity | None:
    try:
        return identity(device)
    except Refused:
        return None


# -- files ---------------------------------------------------------------------------------------------


def _write(host: Host, path: str, text: str) -> Kept:
    old = host.read(path)
    if old == text.strip():
        return Kept(path, "as it was")
    if old is not None and not old.startswith(MARK):
        raise Refused(f"{path} is not of this program, and left; move it away", EX_FAILED)
    place = host.path(path)
    try:
        os.makedirs(os.path.dirname(place), 0o755, exist_ok=True)
        with open(f"{place}.new", "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{place}.new", place)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}; it takes root, and a writable /etc", EX_DENIED, "denied") from None
    return Kept(path, "written")


def _remove(host: Host, path: str) -> Kept:
    if not (host.read(path) or "").startswith(MARK):
        return Kept(path, "left, it is not of this program")
    try:
        os.unlink(host.path(path))
        if path.endswith("tuned.conf"):
            os.rmdir(os.path.dirname(host.path(path)))
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}; it takes root", EX_DENIED, "denied") from None
    return Kept(path, "removed")


def _reload(host: Host, kept: list[Kept]) -> list[str]:
    """Have udev read its rules again."""
    changed = any(each.said in {"written", "removed"} and each.path.startswith(RULES) for each in kept)
    if not changed or not host.here:
        return []
    udevadm = shutil.which("udevadm")
    if udevadm is None:
        return ["there is no udevadm here: the rules count from the next start of the host with udev"]
    done = subprocess.run([udevadm, "control", "--reload"], capture_output=True, text=True, check=False)
    if done.returncode:
        return [f"udevadm control --reload: {shown(done.stderr.strip())}; the rules count from udev's next start"]
    return []


# -- tuned ---------------------------------------------------------------------------------------------


def _tuned(host: Host) -> str:
    """The profile of a tuned that is at work; empty if none is."""
    return (host.read("/etc/tuned/active_profile") or "") if host.exists("/run/tuned/tuned.pid") else ""


def _profiles(host: Host) -> str:
    return "/etc/tuned/profiles" if host.exists("/etc/tuned/profiles") else "/etc/tuned"


def _included(host: Host, conf: str) -> str:
    found = re.search(r"^include=(.*)$", host.read(conf) or "", re.MULTILINE)
    return found[1] if found else "balanced"


def _profile(host: Host, disks: dict[Device, dict[str, str]], active: str) -> dict[str, str]:
    """Tuned's profile: what it would set itself, set as the rule does."""
    conf = f"{_profiles(host)}/{PROFILE}/tuned.conf"
    include = _included(host, conf) if active == PROFILE else active
    parts = [f"{MARK} {__version__}; `swarmsh-tune unpersist` removes it.", "[main]"]
    parts += ["summary=The disks below the journal of swarmsh", f"include={include}"]
    for number, (device, values) in enumerate(disks.items()):
        known = identity(device).known
        lines = [f"elevator={values[SCHEDULER]}"] if SCHEDULER in values else []
        lines += [f"readahead={values[READ_AHEAD]}"] if READ_AHEAD in values else []
        if known and lines:
            parts += ["", f"[disk_swarmsh{number}]", "type=disk", f"devices_udev_regex=^{re.escape(known)}$", *lines]
    return {conf: "\n".join(parts) + "\n"}
