"""The proof that every item was done exactly once, from three independent witnesses.

What "exactly once" means here. A process that is killed may have begun its step, and may even have finished it a moment
before; no queue can know. So an item may be *begun* more than once. What is promised is that its completion is
*accepted* once: each claim has a fencing number of its own, a completion counts only under the number of the latest
claim, and nothing is claimed again after that. The witnesses:

- the daemon: every item's state, how often it was claimed, by whom it was completed, and the output that came with the
  accepted completion, which names that claim's fencing number;
- the ledger: a line for each step that reached its end, appended by the step itself;
- the products: computed again here, from the files.

`check` gives what does not fit, one line each; nothing means that all of it fits.
"""

import gzip
import hashlib
import marshal
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.util import source_hash
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

Facts = Mapping[str, Any]


class Proof(NamedTuple):
    """What was found; ``problems`` is empty if it holds.

    Attributes:
        items: how many there are, each with exactly one accepted completion.
        claims: how often an item was claimed, together.
        again: items that were claimed more than once, because their holder was killed.
        unaccepted: runs that reached their end and were not accepted, as their agent was killed before it could say so.
        files: files whose four products were computed again.
    """

    problems: list[str]
    items: int
    claims: int
    again: list[int]
    unaccepted: int
    files: int


def check(directory: Path, plan: Sequence[Facts], items: Sequence[Facts], outputs: Mapping[int, bytes]) -> Proof:
    """Compare the witnesses.

    Args:
        directory: of the demo: ``files``, ``out`` and ``ledger``.
        plan: the lines that were submitted.
        items: every item of the group, as the daemon has it.
        outputs: by item, the output that came with its accepted completion.
    """
    problems: list[str] = []
    by_ref: dict[str, Facts] = {}
    for item in items:
        if item["ref"] in by_ref:
            problems.append(f"item {item['id']}: a second item for {item['ref']}")
        by_ref[item["ref"]] = item
    ledger = _ledger(directory / "ledger", problems)
    for line in plan:
        found = by_ref.pop(str(line["ref"]), None)
        if found is None:
            problems.append(f"{line['ref']}: submitted, and the daemon does not have it")
        else:
            problems += _item(found, ledger[found["id"]], outputs.get(found["id"], b""))
    problems += [f"item {item['id']}: nobody submitted {ref}" for ref, item in by_ref.items()]
    known = [item for item in items if item["ref"] not in by_ref]
    problems += _ledger_as_a_whole(ledger, {item["id"] for item in known})
    tasks = [str(line["payload"]).splitlines() for line in plan]
    names = [name for step, _, name, *_ in tasks if step == "hash"]
    for number, name in enumerate(names):
        problems += _products(directory, number, name)
    for step, place, _, *after in tasks:
        if step in ("gather", "summary"):
            problems += _gathered(directory / "out", f"{step}.{place}", after)
    claims = sum(item["attempt"] for item in known)
    again = sorted(item["id"] for item in known if item["attempt"] > 1)
    return Proof(problems, len(known), claims, again, sum(map(len, ledger.values())) - len(known), len(names))


class Run(NamedTuple):
    """A line of the ledger: a step that reached its end."""

    item: int
    ref: str
    fence: int
    attempt: int
    agent: str
    product: str


def _run(line: str) -> Run | None:
    """The run that a line records; None if it does not."""
    words = line.split("\t")
    if len(words) != len(Run._fields) or not all(words[at].isdigit() for at in (0, 2, 3)):
        return None
    item, ref, fence, attempt, agent, product = words
    return Run(int(item), ref, int(fence), int(attempt), agent, product)


def _ledger(path: Path, problems: list[str]) -> dict[int, list[Run]]:
    """The ledger's lines, by item."""
    found: dict[int, list[Run]] = defaultdict(list)
    for number, text in enumerate(path.read_text().splitlines(), 1):
        run = _run(text)
        if run is None:
            problems.append(f"ledger, line {number}: not a record: {text[:60]}")
        else:
            found[run.item].append(run)
    return found


def _item(item: Facts, lines: Sequence[Run], output: bytes) -> list[str]:
    """One item: done, and exactly one of its runs was accepted: the last claim's, as daemon and ledger both say."""
    name = f"item {item['id']} ({item['ref']})"
    if item["state"] != "done":
        return [f"{name}: {item['state']}, not done"]
    last = [line for line in lines if line.attempt == item["attempt"]]
    if len(last) != 1:
        return [
            f"{name}: {len(last)} completed runs of attempt {item['attempt']}, the one that was accepted; expected 1"
        ]
    problems = []
    (accepted,) = last
    if accepted.agent != item.get("agent"):
        problems.append(f"{name}: the ledger says {accepted.agent}, the daemon {item.get('agent')}")
    if _run(output.decode(errors="replace").rstrip("\n")) != accepted:
        problems.append(f"{name}: the output that the daemon accepted is not the ledger's line")
    for line in lines:
        if line is not accepted and not (line.fence < accepted.fence and line.attempt < item["attempt"]):
            problems.append(f"{name}: a run under fence {line.fence} beside the accepted {accepted.fence}")
        if line.product != accepted.product:
            problems.append(f"{name}: attempt {line.attempt} had another product")
    if item["attempt"] <= item["crashes"] + item["releases"] + item["failures"]:
        problems.append(
            f"{name}: claimed {item['attempt']} times, and more of its claims than that have ended otherwise"
        )
    return problems


def _ledger_as_a_whole(ledger: Mapping[int, Sequence[Run]], known: set[int]) -> list[str]:
    """No line of unknown items, and no fencing number twice."""
    problems = [f"ledger: item {number} is not the daemon's" for number in ledger if number not in known]
    seen: dict[int, int] = {}
    for number, lines in ledger.items():
        for line in lines:
            if line.fence in seen:
                problems.append(f"fence {line.fence}: used by items {seen[line.fence]} and {number}")
            seen[line.fence] = number
    return problems


def _products(directory: Path, number: int, name: str) -> list[str]:
    """The products of one file, against the file."""
    data = (directory / "files" / name).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    out = directory / "out"
    try:
        right = {
            "hash": (out / f"hash.{number}").read_text() == digest,
            "compile": _compiled(data, (out / f"compile.{number}").read_bytes(), python=name.endswith(".py")),
            "compress": gzip.decompress((out / f"compress.{number}").read_bytes()) == data,
            "check": (out / f"check.{number}").read_text() == f"{digest} {len(data)}\n",
        }
    except (OSError, EOFError, ValueError, TypeError) as error:
        return [f"{name}: {error}"]
    return [f"{name}: the product of {step} is wrong" for step, good in right.items() if not good]


def _compiled(data: bytes, product: bytes, *, python: bool) -> bool:
    """Whether byte code is of these bytes and can be loaded; of other files there is one line about them."""
    if not python:
        return product.endswith(b"\n") and product.count(b"\n") == 1
    loaded = marshal.loads(product[16:])  # noqa: S302 - written by our own step, which anybody may run
    return product[8:16] == source_hash(data) and isinstance(loaded, CodeType)


def _gathered(out: Path, ref: str, after: list[str]) -> list[str]:
    """The product of a step that gathers: the hash of each product that it waited for."""
    try:
        right = "".join(f"{hashlib.sha256((out / each).read_bytes()).hexdigest()}  {each}\n" for each in after)
        return [] if (out / ref).read_text() == right else [f"the product of {ref} is wrong"]
    except OSError as error:
        return [f"{ref}: {error}"]
