"""Disks to tune: copies of sysfs and procfs for those that this kernel lacks, and real loop devices.

A copy has what the program reads, and the links between it, as on a real host; its paths are those of /sys and /proc
below a directory. A loop device is one that nobody else has, with a number of its own; it is removed at the end, and
its settings with it.
"""

import fcntl
import io
import json
import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest

from swarmshd.tuning.program import main
from tests.conftest import PATIENCE, ROOT

LOOP_CTL_ADD, LOOP_CTL_REMOVE = 0x4C80, 0x4C81
FIRST_LOOP = 40
"""Numbers below are for those who ask the kernel for a free one."""

MQ = "[mq-deadline] kyber bfq none"
NONE = "[none] mq-deadline kyber bfq"


class Tree:
    """A copy of another host's /sys and /proc."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._mounts: list[str] = []
        self.write("/proc/sys/kernel/random/boot_id", "6f1c9f7e-0000-4000-8000-000000000001")
        self.write("/proc/self/mountinfo", "")
        self.write("/proc/swaps", "Filename Type Size Used Priority\n")

    def write(self, path: str, text: str) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n", encoding="utf-8")

    def link(self, path: str, target: str) -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(os.path.relpath(self.root / target.lstrip("/"), place.parent))

    def device(
        self, path: str, number: str, *, scheduler: str | None = None, below: Sequence[str] = (), **files: str
    ) -> str:
        """A device at that path of /sys/devices; a name in ``files`` has ``__`` for a slash."""
        name = Path(path).name
        full = f"/sys/devices/{path}"
        self.write(f"{full}/dev", number)
        self.write(f"{full}/size", "2097152")
        self.write(f"{full}/diskseq", number.partition(":")[2])
        self.write(f"{full}/queue/read_ahead_kb", "128")
        if scheduler is not None:
            values = {"scheduler": scheduler, "nr_requests": "256", "rq_affinity": "1", "nomerges": "0"}
            for attribute, value in (values | {"wbt_lat_usec": "2000"}).items():
                self.write(f"{full}/queue/{attribute}", value)
            files = {"queue__zoned": "none", "queue__rotational": "0", "mq__0__nr_tags": "64"} | files
        for file, text in files.items():
            self.write(f"{full}/{file.replace('__', '/')}", text)
        self.link(f"/sys/class/block/{name}", full)
        self.link(f"/sys/dev/block/{number}", full)
        (self.root / "sys/block").mkdir(exist_ok=True)
        if "partition" not in files:
            self.link(f"/sys/block/{name}", full)
        self.write(f"/dev/{name}", "")
        for lower in below:
            self.link(f"{full}/slaves/{lower}", f"/sys/class/block/{lower}")
            self.link(f"/sys/class/block/{lower}/holders/{name}", full)
        return name

    def disk(
        self, name: str, number: str, scheduler: str = MQ, where: str = "pci0000:00/ata1/host0", **files: str
    ) -> str:
        return self.device(f"{where}/block/{name}", number, scheduler=scheduler, **files)

    def partition(self, name: str, number: str, disk: str) -> str:
        where = (self.root / "sys/class/block" / disk).resolve().relative_to(self.root.resolve() / "sys/devices")
        return self.device(f"{where}/{name}", number, partition="1")

    def virtual(self, name: str, number: str, *below: str, **files: str) -> str:
        return self.device(f"virtual/block/{name}", number, below=below, **files)

    def mount(self, point: str, number: str, kind: str, source: str, options: str = "rw") -> None:
        self._mounts.append(f"{len(self._mounts) + 20} 1 {number} / {point} rw - {kind} {source} {options}")
        self.write("/proc/self/mountinfo", "\n".join(self._mounts))
        (self.root / point.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def swap(self, source: str) -> None:
        self.write("/proc/swaps", f"Filename Type Size Used Priority\n{source} partition 1 0 -2")

    def tune(self, *words: str) -> "Said":
        return here("--root", str(self.root), *words)

    def show(self, path: str) -> dict[str, Any]:
        said = self.tune("show", path, "--json")
        assert said.status == 0
        found: dict[str, Any] = said.json
        return found


class Said:
    """What a run of swarmsh-tune came to."""

    def __init__(self, status: int, out: str, err: str) -> None:
        assert "Traceback" not in err, err
        self.status = status
        self.out = out
        self.err = err.splitlines()

    @property
    def rows(self) -> list[list[str]]:
        return [line.split("\t") for line in self.out.splitlines()]

    @property
    def json(self) -> Any:
        found = json.loads(self.out)
        assert found.pop("schema") == 1
        return found

    @property
    def line(self) -> str:
        """The one line on stderr."""
        (line,) = self.err
        return line.removeprefix("swarmsh-tune: ")


def tune(*words: str, before: Sequence[str] = (), **environ: str) -> Said:
    """Run swarmsh-tune; ``before`` are the words of a command that runs it."""
    done = subprocess.run(
        [*before, sys.executable, "-m", "swarmshd.tuning", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        cwd=ROOT,
    )
    return Said(done.returncode, done.stdout, done.stderr)


AS_NOBODY = """
import os, sys
from swarmshd.tuning.program import main
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(main(sys.argv[1:]))
"""


def as_nobody(*words: str, **environ: str) -> Said:
    """Run it as a user who may nothing; the interpreter is started by one who may read it."""
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
    )
    return Said(done.returncode, done.stdout, done.stderr)


def here(*words: str) -> Said:
    """The same without a process of its own."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        status = main(words)
    return Said(status, out.getvalue(), err.getvalue())


class Loop:
    """A loop device, the file behind it, and the record of a swarmsh-tune that has only this to do."""

    def __init__(self, number: int, image: Path, run: Path) -> None:
        self.name = f"loop{number}"
        self.number = number
        self.image = image
        self.run = str(run)
        self.queue = Path(f"/sys/block/{self.name}/queue")
        self.first: dict[str, str] = {}
        """What the kernel has given to it."""

    def tune(self, verb: str, *words: str, before: Sequence[str] = ()) -> Said:
        words = (verb, "--device", self.name, *words)
        return tune(*words, before=before) if before else here(*words)

    def apply(self, *words: str) -> Said:
        return self.tune("apply", "--yes", *words)

    def revert(self, *words: str) -> Said:
        return self.tune("revert", *words)

    def get(self, attribute: str) -> str:
        text = (self.queue / attribute).read_text().strip()
        return text.partition("[")[2].partition("]")[0] if attribute == "scheduler" else text

    def set(self, attribute: str, value: object) -> None:
        (self.queue / attribute).write_text(str(value))

    def values(self) -> dict[str, str]:
        names = "scheduler nr_requests read_ahead_kb rq_affinity nomerges wbt_lat_usec".split()
        return {name: self.get(name) for name in names}

    def attach(self) -> None:
        subprocess.run(["losetup", f"/dev/{self.name}", str(self.image)], check=True)

    def detach(self) -> None:
        subprocess.run(["losetup", "--detach", f"/dev/{self.name}"], check=False, capture_output=True)

    def remove(self) -> None:
        """It is no more, nor its directory in /sys."""
        self.detach()
        with control() as fd:
            deadline = PATIENCE
            while deadline > 0:  # whoever looks at every new device may have it open for a moment
                try:
                    fcntl.ioctl(fd, LOOP_CTL_REMOVE, self.number)
                except BlockingIOError:
                    deadline -= 1
                except OSError:
                    return
                else:
                    return


class control:  # noqa: N801 - used as a function
    """/dev/loop-control, open."""

    def __enter__(self) -> int:
        self.fd = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        return self.fd

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def loops(directory: Path, megabytes: int = 8) -> Generator[Loop]:
    """A loop device of one test's own; the test is skipped where there can be none."""
    image = directory / "disk.img"
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    run = directory / "run"
    try:
        with control() as fd:
            number = next(n for n in range(FIRST_LOOP, 4096) if _added(fd, n))
    except OSError as error:
        pytest.skip(f"no loop device can be had here: {error.strerror}")
    loop = Loop(number, image, run)
    try:
        loop.attach()
        if not (loop.queue / "scheduler").exists() or "bfq" not in (loop.queue / "scheduler").read_text():
            pytest.skip("this kernel's loop devices have no choice of schedulers")
        loop.first = loop.values()
        yield loop
    finally:
        loop.remove()


def _added(fd: int, number: int) -> bool:
    with suppress(FileExistsError):
        return fcntl.ioctl(fd, LOOP_CTL_ADD, number) == number
    return False
