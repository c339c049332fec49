"""One step, as `swarmctl work` runs it: `step.py DIRECTORY`, the task as JSON on standard input.

The step writes its product under a temporary name and renames it, so that a product is there whole or not at all, and a
step that is done again gives the same product. As its last act it appends one line to the ledger, which is also its
output: which item, under which claim (the fencing number), at which attempt, by which agent.
"""

import gzip
import hashlib
import json
import os
import py_compile
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> int:
    """Do it."""
    directory = Path(sys.argv[1])
    task = json.load(sys.stdin)
    fence = os.environ["SWARMSH_FENCE"]
    out = directory / "out"
    product = out / f"{task['step']}.{task['number']}"
    temporary = out / f".{product.name}.{fence}"
    STEPS[task["step"]](directory, task, temporary)
    os.replace(temporary, product)
    record = {
        "item": int(os.environ["SWARMSH_ITEM"]),
        "ref": product.name,
        "fence": int(fence),
        "attempt": int(os.environ["SWARMSH_ATTEMPT"]),
        "agent": os.environ["SWARMSH_AGENT"],
        "product": digest(product.read_bytes()),
    }
    line = json.dumps(record) + "\n"
    ledger = os.open(directory / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(ledger, line.encode())  # one call: lines of several processes do not mix
    sys.stdout.write(line)
    return 0


def digest(data: bytes) -> str:
    """The name of the content."""
    return hashlib.sha256(data).hexdigest()


def hash_(directory: Path, task: dict[str, str], to: Path) -> None:
    """The SHA-256 of the file."""
    to.write_text(digest((directory / "files" / task["name"]).read_bytes()))


def compile_(directory: Path, task: dict[str, str], to: Path) -> None:
    """Byte code of Python; of other files what they are, after a look whether they are sound."""
    source = directory / "files" / task["name"]
    if source.suffix == ".py":
        mode = py_compile.PycInvalidationMode.CHECKED_HASH  # the same bytes whenever it is done
        py_compile.compile(str(source), str(to), task["name"], doraise=True, invalidation_mode=mode)
        return
    data = source.read_bytes()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        to.write_text("bytes\n")
        return
    if source.suffix == ".toml":
        tomllib.loads(text)
    elif source.suffix == ".json":
        json.loads(text)
    to.write_text(f"{source.suffix or 'text'}, {len(text.splitlines())} lines of UTF-8\n")


def compress(directory: Path, task: dict[str, str], to: Path) -> None:
    """Compress the file, which must have the hash that an earlier item found."""
    data = (directory / "files" / task["name"]).read_bytes()
    if digest(data) != (directory / "out" / f"hash.{task['number']}").read_text():
        sys.exit(f"{task['name']} is not what was hashed")
    to.write_bytes(gzip.compress(data, mtime=0))


def check(directory: Path, task: dict[str, str], to: Path) -> None:
    """Unpack what was compressed, and compare its hash with the one that was found first."""
    data = gzip.decompress((directory / "out" / f"compress.{task['number']}").read_bytes())
    found = digest(data)
    if found != (directory / "out" / f"hash.{task['number']}").read_text():
        sys.exit(f"{task['name']} did not come back from compression")
    to.write_text(f"{found} {len(data)}\n")


def gather(directory: Path, task: dict[str, list[str]], to: Path) -> None:
    """Names and hashes of the products of the items that this one waited for: all must be there."""
    out = directory / "out"
    to.write_text("".join(f"{digest((out / ref).read_bytes())}  {ref}\n" for ref in task["after"]))


STEPS: dict[str, Callable[[Path, dict[str, Any], Path], None]] = {
    "hash": hash_,
    "compile": compile_,
    "compress": compress,
    "check": check,
    "gather": gather,
    "summary": gather,
}


if __name__ == "__main__":
    sys.exit(main())
