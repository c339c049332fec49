"""What the demo has done: every file hashed, compiled, compressed and checked, and one summary of it all.

The files are copied first, so that nobody's editing meanwhile is taken for damage. The items are the lines of one file
for ``swarmctl submit --from``: each says by ``after`` and ``@REF`` what must be done before it.

    hash ──> compress ──> check ──┐
                                  ├──> gather (up to 64 each) ──> summary
    compile ──────────────────────┘
"""

import os
import shutil
import subprocess
from pathlib import Path

STEPS = ("hash", "compile", "compress", "check")
GROUP = "demo"
AFTER_MAX = 64
"""Most items that one item may wait for."""

NOT_OURS = frozenset((".git", ".venv", ".demo", "__pycache__", "build", "dist"))


def tracked(root: Path) -> list[str]:
    """The files of the repository, by git; without git every file that is no product of a tool."""
    try:
        found = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, check=True)
        names = [os.fsdecode(name) for name in found.stdout.split(b"\0") if name]
    except (OSError, subprocess.CalledProcessError):
        names = []
        for directory, below, files in os.walk(root):
            below[:] = [name for name in below if name not in NOT_OURS and not name.endswith("_cache")]
            names += [os.path.relpath(os.path.join(directory, name), root) for name in files]
    return sorted(name for name in names if "\n" not in name and _is_plain(root / name))


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def copy(root: Path, names: list[str], to: Path) -> None:
    """Copy the files."""
    for name in names:
        target = to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, target)


def lines(names: list[str]) -> list[dict[str, object]]:
    """The items, one for each line that is submitted; ``description`` says the same to people."""
    made: list[dict[str, object]] = []
    ends: list[str] = []
    for number, name in enumerate(names):
        for step in STEPS:
            before = {"compress": f"hash.{number}", "check": f"compress.{number}"}.get(step)
            made.append(_line(step, number, name, [before] if before else []))
        ends += [f"check.{number}", f"compile.{number}"]
    gathers = []
    for number, start in enumerate(range(0, len(ends), AFTER_MAX)):
        part = ends[start : start + AFTER_MAX]
        made.append(_line("gather", number, f"part {number + 1}", part))
        gathers.append(f"gather.{number}")
    made.append(_line("summary", 0, "everything", gathers))
    return made


def _line(step: str, number: int, name: str, after: list[str]) -> dict[str, object]:
    line: dict[str, object] = {"type": step, "description": f"{step} {name}", "group": GROUP, "ref": f"{step}.{number}"}
    if after:
        line["after"] = [f"@{ref}" for ref in after]
    line["payload"] = "\n".join([step, str(number), name, *after])
    return line
