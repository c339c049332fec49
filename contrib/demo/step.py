"""One step, as `swarmctl work` runs it: `step.py DIRECTORY`, with the task on standard input, a word a line.

The step writes its product under a temporary name and renames it, so that a product is there whole or not at all, and a
step that is done again gives the same product. As its last act it appends one line to the ledger, which is also its
output: the item, its name, the claim's fencing number, the attempt, the agent, and the hash of the product.

It imports little, because it is run some hundreds of times and an import of Python costs more than its work.
"""

import hashlib
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Task:
    """What a step is about: the file, where the products are, the file's number, and the products to gather."""

    __slots__ = ("after", "number", "out", "source")

    def __init__(self, source: str, out: str, number: str, after: "list[str]") -> None:
        self.source = source
        self.out = out
        self.number = number
        self.after = after


def main() -> int:
    """Do it."""
    directory = sys.argv[1]
    step, number, name, *after = sys.stdin.read().splitlines()
    environ = os.environ
    ref = f"{step}.{number}"
    product = f"{directory}/out/{ref}"
    temporary = f"{directory}/out/.{ref}.{environ['SWARMSH_FENCE']}"
    write(temporary, STEPS[step](Task(f"{directory}/files/{name}", f"{directory}/out", number, after)))
    os.replace(temporary, product)
    facts = [environ[f"SWARMSH_{word}"] for word in ("ITEM", "FENCE", "ATTEMPT", "AGENT")]
    line = "\t".join([facts[0], ref, *facts[1:], digest(read(product))]) + "\n"
    ledger = os.open(f"{directory}/ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(ledger, line.encode())  # one call: lines of several processes do not mix
    sys.stdout.write(line)
    return 0


def read(path: str) -> bytes:
    """The bytes of a file."""
    with open(path, "rb") as file:
        return file.read()


def write(path: str, data: bytes) -> None:
    """Make a file of these bytes."""
    with open(path, "wb") as file:
        file.write(data)


def digest(data: bytes) -> str:
    """The SHA-256 of the bytes."""
    return hashlib.sha256(data).hexdigest()


def hash_(task: Task) -> bytes:
    """The SHA-256 of the file."""
    return digest(read(task.source)).encode()


def compile_(task: Task) -> bytes:
    """Byte code of Python; of other files what they are, after a look whether they are sound."""
    if task.source.endswith(".py"):
        import py_compile  # noqa: PLC0415 - see the module's text

        code = f"{task.out}/.code.{task.number}.{os.getpid()}"
        mode = py_compile.PycInvalidationMode.CHECKED_HASH  # the same bytes whenever it is done
        py_compile.compile(task.source, code, os.path.basename(task.source), doraise=True, invalidation_mode=mode)
        data = read(code)
        os.unlink(code)
        return data
    try:
        text = read(task.source).decode()
    except UnicodeDecodeError:
        return b"bytes\n"
    if task.source.endswith(".toml"):
        import tomllib  # noqa: PLC0415

        tomllib.loads(text)
    return f"{len(text.splitlines())} lines of UTF-8\n".encode()


def compress(task: Task) -> bytes:
    """Compress the file, which must have the hash that an earlier item found, in the format of gzip."""
    import zlib  # noqa: PLC0415

    data = read(task.source)
    if digest(data).encode() != read(f"{task.out}/hash.{task.number}"):
        sys.exit(f"{task.source} is not what was hashed")
    return zlib.compress(data, wbits=31)


def check(task: Task) -> bytes:
    """Unpack what was compressed, and compare its hash with the one that was found first."""
    import zlib  # noqa: PLC0415

    data = zlib.decompress(read(f"{task.out}/compress.{task.number}"), wbits=31)
    if digest(data).encode() != read(f"{task.out}/hash.{task.number}"):
        sys.exit(f"{task.source} did not come back from compression")
    return f"{digest(data)} {len(data)}\n".encode()


def gather(task: Task) -> bytes:
    """Hash and name of the products of all items that this one waited for; they must be there."""
    return "".join(f"{digest(read(f'{task.out}/{ref}'))}  {ref}\n" for ref in task.after).encode()


STEPS: "dict[str, Callable[[Task], bytes]]" = {
    "hash": hash_,
    "compile": compile_,
    "compress": compress,
    "check": check,
    "gather": gather,
    "summary": gather,
}


if __name__ == "__main__":
    sys.exit(main())
