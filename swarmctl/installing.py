"""The verb ``install-units``: the units of the service, put where this host's systemd finds them.

The files are those of the source tree's ``systemd/``, which stand ready for programs in /usr/bin; here the directory of
the programs is put in. A file begins with a line that holds the digest of the rest, so that one that somebody has
changed is told from one of an earlier version: the first is never overwritten nor removed, the second is replaced.

Nothing is written before everything was looked at: the interpreter, which the sandbox of the unit must be able to
reach, and all files that are there. Nothing is enabled or started unless ``--now`` asks for it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path

from swarmctl.cli import Failure
from swarmshd import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from swarmctl.cli import Call

BIN = "/usr/bin/"
"""The directory of the programs in the files as they are kept."""

HEADER = "# Made by swarmctl {}; changes belong into `systemctl edit`. Digest of the rest: {}\n"
_DIGEST = "Digest of the rest: "

HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - not used, but refused
"""What the sandbox hides from the service: ProtectHome= and PrivateTmp=."""

DROPINS = {"50-restart-254.conf": 254}
"""Drop-ins that need a systemd of this version."""

PLACES = {
    "unit": ("/etc/systemd/system", "/usr/lib/systemd/system"),
    "sysusers": ("/etc/sysusers.d", "/usr/lib/sysusers.d"),
    "tmpfiles": ("/etc/tmpfiles.d", "/usr/lib/tmpfiles.d"),
}
"""Where what kind of file goes: installed by an administrator, and by a package."""

SOCKET, SERVICE = "swarmshd.socket", "swarmshd.service"


def install(call: Call) -> int:
    """Put the files there, or print them, or take them away."""
    given = call.given
    user = "user" in given
    root = Path(given.get("root", "/"))
    live = "root" not in given
    if live and not user and "print" not in given and os.geteuid():
        words = " ".join(["sudo", os.path.realpath(sys.argv[0]), *sys.argv[1:]])
        raise Failure(f"needs root: {words}; or --user, for a service of your own", 77, "denied")
    programs = Path(given.get("bin_dir") or _programs())
    files = dict(_files(root, str(programs) + "/", packaged=str(programs) == "/usr/bin", user=user))
    if "print" in given:
        for path, text in files.items():
            call.out.text(f"# {path}\n{text}\n")
        return 0
    if "uninstall" in given:
        return _uninstall(call, files, live=live, user=user)
    if live and not user:
        _check_reach(programs)
    _check_untouched(files)
    for path, text in files.items():
        _write(path, text)
        call.out.row(path)
    if live:
        _take_up(call, files, user=user, now="now" in given)
    return 0


def _programs() -> str:
    """The directory of the programs that belong to this one."""
    return os.path.join(sys.prefix, "bin")


def _source() -> Path:
    """The files as they are kept: in the package, or beside it in a source tree."""
    package = Path(__file__).parent
    inside = package / "systemd"
    return inside if inside.is_dir() else package.parent / "systemd"


def _files(root: Path, programs: str, *, packaged: bool, user: bool) -> Iterator[tuple[Path, str]]:
    """Each file's path and text."""
    source = _source()
    if user:
        base = root / _user_place().lstrip("/")
        for path in sorted((source / "user").iterdir()):
            yield base / path.name, _made(path, programs)
        return
    version = _systemd_version()
    place = {kind: root / both[packaged].lstrip("/") for kind, both in PLACES.items()}
    for path in sorted(source.iterdir()):
        if path.suffix in (".service", ".socket"):
            yield place["unit"] / path.name, _made(path, programs)
        elif path.suffix == ".sysusers":
            yield place["sysusers"] / "swarmsh.conf", _made(path, programs)
        elif path.suffix == ".tmpfiles":
            yield place["tmpfiles"] / "swarmsh.conf", _made(path, programs)
        elif path.suffix == ".d":
            for dropin in sorted(path.iterdir()):
                if version >= DROPINS.get(dropin.name, 0):
                    yield place["unit"] / path.name / dropin.name, _made(dropin, programs)


def _user_place() -> str:
    base = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(base, "systemd/user")


def _made(path: Path, programs: str) -> str:
    """The text of a file for programs in that directory, under its header."""
    lines = path.read_text().splitlines(keepends=True)
    text = "".join([line.replace(BIN, programs) if line.startswith("Exec") else line for line in lines])
    return HEADER.format(__version__, _digest(text)) + text


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()


def _untouched(path: Path) -> bool:
    """Whether the file is as some version of this program wrote it."""
    header, _, rest = path.read_text(errors="replace").partition("\n")
    return header.rpartition(_DIGEST)[2] == _digest(rest)


def _systemd_version() -> int:
    """Of the systemd that is installed; 0 if there is none."""
    try:
        said = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S607
    except OSError:
        return 0
    words = said.split()
    return int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0


# -- before anything is written -------------------------------------------------------------------------


def _check_reach(programs: Path) -> None:
    """Refuse what the service could not run: it may see no home directory, and is another user."""
    again = "install it where all can: python3 -m venv /opt/swarmsh && /opt/swarmsh/bin/pip install swarmsh"
    for name in ("swarmshd", "swarmctl"):
        if not os.access(programs / name, os.X_OK):
            raise Failure(f"there is no program {programs / name}; give its directory with --bin-dir")
    places = [str(programs)]
    if str(programs) == _programs():
        places += [os.path.realpath(sys.executable), sys.prefix, sys.base_prefix]
    for place in dict.fromkeys([*places, *map(os.path.realpath, places)]):
        hidden = next((base for base in HIDDEN if place == base or place.startswith(base + "/")), None)
        if hidden is not None:
            raise Failure(f"{place} is in {hidden}, which the service cannot see; {again}", 78, "config")
        closed = next((each for each in (Path(place), *Path(place).parents) if not each.stat().st_mode & 0o001), None)
        if closed is not None:
            raise Failure(f"{place}: not everybody may enter {closed}, so the service cannot; {again}", 78, "config")


def _check_untouched(files: dict[Path, str]) -> None:
    """Refuse to overwrite what somebody has changed."""
    for path in files:
        if path.exists() and not _untouched(path):
            raise Failure(
                f"{path} was changed since it was made, or is not ours; nothing was written. Move your "
                f"changes into a drop-in (systemctl edit {path.name}) and remove the file",
                5,
                "conflict",
            )


# -- writing --------------------------------------------------------------------------------------------


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.name + ".new")
        draft.write_text(text)
        draft.chmod(0o644)
        draft.replace(path)
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}; nothing was enabled") from None


def _take_up(call: Call, files: dict[Path, str], *, user: bool, now: bool) -> None:
    """Have the host know of the files; enable and start the service if that is wanted."""
    manager = ["systemctl", "--user"] if user else ["systemctl"]
    for path in files:  # no others: a fault in somebody else's file is none of ours
        if path.parent.name == "sysusers.d":
            _run("systemd-sysusers", str(path))
        elif path.parent.name == "tmpfiles.d":
            _run("systemd-tmpfiles", "--create", str(path))
    _run(*manager, "daemon-reload")
    enable = [*manager, "enable", "--now", SOCKET, SERVICE]
    if now:
        _run(*enable)
    else:
        call.remark(f"to start it, now and at every boot: {' '.join(enable)}")
    if user:
        call.remark("to have it run while you are not logged in: loginctl enable-linger")


def _run(*command: str) -> None:
    """Run it. Raises Failure with what it said."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Failure(f"the files are there, but {command[0]}: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise Failure(f"the files are there, but `{' '.join(command)}` failed: {said[-1]}")


def _uninstall(call: Call, files: dict[Path, str], *, live: bool, user: bool) -> int:
    """Stop and disable the service, and remove the files that nobody has changed; the queue stays where it is."""
    found = [path for path in files if path.exists()]
    kept = [path for path in found if not _untouched(path)]
    manager = ["systemctl", "--user"] if user else ["systemctl"]
    if live and found:
        units: Sequence[str] = [path.name for path in found if path.suffix in (".socket", ".service")]
        _run(*manager, "disable", "--now", *units)
    for path in found:
        if path not in kept:
            path.unlink()
            call.out.row(path)
            if path.parent.name.endswith(".d") and path.parent.name != "sysusers.d" and not any(path.parent.iterdir()):
                path.parent.rmdir()
    if live and found:
        _run(*manager, "daemon-reload")
    for path in kept:
        call.remark(f"{path} stays: it was changed since it was made")
    if not user:
        call.remark("the queue stays in /var/lib/swarmsh, and the user swarmsh with it; remove them by hand")
    return 1 if kept else 0
