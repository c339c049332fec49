"""A machine with systemd as its first process: a container with a root of its own, sharing only /usr with the host.

It is made of nothing but the host's systemd (``systemd-nspawn``) and what is put into its root, boots in about two
seconds, and is driven by commands that run in its namespaces. The product is installed in it at /opt/swarmsh, as a
virtual environment of the system's interpreter; or not at all, and then its /usr is its own to write to, over the
host's, and it has the host's list of packages.
"""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

from tests.conftest import PATIENCE, ROOT

SYSTEM_PYTHON = Path("/usr/bin/python3")
PLACE = "/opt/swarmsh"

_PASSWD = """\
root:x:0:0:root:/root:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
systemd-journal:x:998:998::/:/usr/sbin/nologin
messagebus:x:997:997::/:/usr/sbin/nologin
alice:x:1234:1234::/home/alice:/bin/bash
bob:x:1235:1235::/tmp:/bin/bash
"""
_GROUP = """\
root:x:0:
nogroup:x:65534:
systemd-journal:x:998:
messagebus:x:997:
utmp:x:43:
tty:x:5:
alice:x:1234:
bob:x:1235:
"""
_PAM = """\
account required pam_permit.so
session optional pam_systemd.so
"""
_TARGET = """\
[Unit]
Description=what a test needs
Requires=sysinit.target sockets.target
After=sysinit.target sockets.target
AllowIsolate=yes
"""


def why_not() -> str:
    """Why there can be no such machine here; empty if there can."""
    if os.geteuid() != 0:
        return "a container needs root"
    for program in ("systemd-nspawn", "nsenter"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if not SYSTEM_PYTHON.exists():
        return f"there is no {SYSTEM_PYTHON}"
    asked = [str(SYSTEM_PYTHON), "-c", "import sys, venv; print(*sys.version_info[:2])"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    if said != [str(number) for number in sys.version_info[:2]]:
        return f"{SYSTEM_PYTHON} is of another version than the interpreter that runs the tests"
    return ""


class Machine:
    """One such machine; ``root`` is its tree."""

    def __init__(self, root: Path, name: str, *, bare: bool = False) -> None:
        self.root = root
        self.name = name
        self._bare = bare
        self._process: subprocess.Popen[bytes] | None = None
        self._first = 0

    def make(self) -> None:
        """Put its tree together."""
        root = self.root
        for name in "usr etc etc/pam.d var/log/journal run tmp root opt home proc sys dev etc/systemd/system".split():
            (root / name).mkdir(parents=True, exist_ok=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (root / name).symlink_to(f"usr/{name}")
        etc = root / "etc"
        (etc / "machine-id").write_text(os.urandom(16).hex() + "\n")
        (etc / "passwd").write_text(_PASSWD)
        (etc / "group").write_text(_GROUP)
        (etc / "os-release").write_text('ID=test\nNAME="test"\n')
        for name in ("other", "systemd-user"):
            (etc / "pam.d" / name).write_text(_PAM)
        (root / "home/alice").mkdir()
        os.chown(root / "home/alice", 1234, 1234)
        (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\n")
        shutil.copy("/etc/ld.so.cache", etc / "ld.so.cache")
        (etc / "systemd/system/test.target").write_text(_TARGET)
        if self._bare:
            self._own_usr()
        else:
            self._install()

    def _own_usr(self) -> None:
        """What is written to /usr goes to memory; what is there is the host's."""
        over = self.root.parent / f"{self.name}.usr"
        over.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "none", str(over)], check=True)
        for name in ("upper", "work"):
            (over / name).mkdir()
        layers = f"lowerdir=/usr,upperdir={over}/upper,workdir={over}/work"
        subprocess.run(["mount", "-t", "overlay", "none", "-o", layers, str(self.root / "usr")], check=True)
        (self.root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)  # a host that starts no services may have one
        shutil.copytree("/var/lib/dpkg", self.root / "var/lib/dpkg")
        (self.root / "var/lib/dpkg/statoverride").write_text("")  # of groups that this machine has not

    def _install(self) -> None:
        """The product, in a virtual environment of the system's interpreter."""
        place = self.root / PLACE.lstrip("/")
        subprocess.run([str(SYSTEM_PYTHON), "-m", "venv", "--without-pip", str(place)], check=True)
        site = next(place.glob("lib/python3*/site-packages"))
        shutil.copytree(sysconfig.get_path("platlib"), site, dirs_exist_ok=True, ignore=_unneeded)
        for package in ("swarmshd", "swarmctl"):
            shutil.copytree(ROOT / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "systemd", site / "swarmctl/systemd")
        interpreter = f"#!{PLACE}/bin/python\n"
        _program(place / "bin/swarmctl", interpreter + (ROOT / "bin/swarmctl").read_text().partition("\n")[2])
        for name, module in (("swarmshd", "swarmshd.main"), ("swarmsh-tune", "swarmshd.tuning.program")):
            entry = f"import sys\nfrom {module} import main\nsys.exit(main())\n"
            _program(place / "bin" / name, interpreter + entry)
        config = place / "pyvenv.cfg"
        config.write_text("".join([f"{line}\n" for line in config.read_text().splitlines() if "=" in line]))

    def boot(self) -> None:
        """Start it, and wait until it is up."""
        command = ["systemd-nspawn", "--quiet", "-D", str(self.root), "--register=no"]
        command += [] if self._bare else ["--bind-ro=/usr"]
        command += ["--keep-unit", "--console=pipe", "-M", self.name, "-b", "--", "systemd.unit=test.target"]
        with (self.root.parent / f"{self.name}.console").open("wb") as console:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env={**os.environ, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1"},
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE
        while not self._up():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the machine did not come up: {self.console()[-2000:]}")
            time.sleep(0.05)

    def console(self) -> str:
        """What it said on its console."""
        return (self.root.parent / f"{self.name}.console").read_text(errors="replace")

    def _up(self) -> bool:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        if not children:
            return False
        self._first = int(children[0])
        if not os.path.exists(f"/proc/{self._first}/root/run/systemd/private"):
            return False
        said = self.run("systemctl", "is-active", "test.target", check=False)
        return said.stdout.strip() == "active"

    def command(self, *command: str, user: str = "root", groups: str = "") -> list[str]:
        """The command line that runs this one in the machine, as that user (in those groups as well)."""
        inside = ["nsenter", "-t", str(self._first), "-m", "-u", "-i", "-p", "-n", "--"]
        inside += ["env", "-i", f"PATH={PLACE}/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C.UTF-8"]
        if user != "root":
            inside += ["setpriv", f"--reuid={user}", f"--regid={user}"]
            inside += [f"--groups={groups}"] if groups else ["--clear-groups"]
        return [*inside, *command]

    def run(
        self, *command: str, user: str = "root", groups: str = "", check: bool = True, **how: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it. Raises AssertionError with what it said if it fails, unless not ``check``."""
        done = subprocess.run(
            self.command(*command, user=user, groups=groups),
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * PATIENCE,
            cwd="/",
            **how,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "-P", name, unit).stdout.strip()

    def log(self, *options: str) -> str:
        """What its journal holds."""
        return self.run("journalctl", "--no-pager", "-o", "cat", *options).stdout

    def stop(self) -> None:
        """Switch it off, for good if it does not go by itself."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._bare:
            for place in (self.root / "usr", self.root.parent / f"{self.name}.usr"):
                subprocess.run(["umount", "--lazy", str(place)], check=False, stderr=subprocess.DEVNULL)


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _unneeded(directory: str, names: list[str]) -> list[str]:
    """What of the environment that runs the tests the daemon has no use for."""
    heavy = (
        "mypy",
        "ruff",
        "pytest",
        "_pytest",
        "hypothesis",
        "pip",
        "setuptools",
        "swarm",
        "__pycache__",
        "_editable",
    )
    return [name for name in names if name.startswith(heavy) or name.endswith(".pth")]
