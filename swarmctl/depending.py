"""``deps``: what an item waits for, and what waits for it, as far as either goes.

An item is shown once with what hangs on it; where it comes again it only has its line. What was forgotten was done, or
nobody could wait for it any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from swarmctl.parse import Usage, positional

if TYPE_CHECKING:
    from collections.abc import Iterator

    from swarmctl.cli import Call

    Facts = dict[str, Any]

MOST = 1000
"""Items that are looked at; what lies beyond is said to be there."""

UP, DOWN = "after", "needed_by"
"""The fields of an item that lead on."""


def deps(call: Call) -> int:
    """Show what hangs together with an item."""
    number, _ = positional("item_and_token", call.words[0], "ID", call.spoken)
    if "mermaid" in call.given and call.json:
        raise Usage("--mermaid is a drawing, --json are objects", call.spoken)
    root = call.ask("show", {"id": number})
    known = {root["id"]: root}
    above, below = _learn(call, known, root, UP), _learn(call, known, root, DOWN)
    if "mermaid" in call.given:
        call.lines(_drawing(known))
    elif call.for_people:
        call.lines(_trees(call, known, root))
    else:
        for item in known.values():
            facts = {name: item.get(name) for name in ("id", "state", "type", "description", UP, DOWN)}
            waits = ",".join(map(str, item.get(UP, ())))
            call.tell(facts, item["id"], (item["id"], waits, item["state"], item.get("type"), item.get("description")))
    if not (above and below) and not call.json:
        call.remark(f"there are more; the first {MOST} are shown")
    return 0


def _learn(call: Call, known: dict[int, Facts], root: Facts, field: str) -> bool:
    """Ask for all that the field leads to, level by level; whether that was all."""
    level = [root]
    while level:
        found = list(dict.fromkeys(each for item in level for each in item.get(field, ()) if each not in known))
        wanted = found[: max(0, MOST - len(known))]
        level = []
        for number, (item, refused) in zip(
            wanted, call.ask_all(("show", {"id": each}) for each in wanted), strict=True
        ):
            if refused is not None and refused.code != "not_found":
                raise refused
            known[number] = item or {"id": number, "state": "forgotten"}
            level.append(known[number])
        if len(wanted) < len(found):
            return False
    return True


def _trees(call: Call, known: dict[int, Facts], root: Facts) -> Iterator[str]:
    yield _line(call, root, "")
    for field, heading in ((UP, "waits for"), (DOWN, "needed by")):
        if root.get(field):
            yield ""
            yield heading
            yield from _branches(call, known, root, field, "", {root["id"]})


def _branches(
    call: Call, known: dict[int, Facts], item: Facts, field: str, before: str, shown: set[int]
) -> Iterator[str]:
    numbers = [number for number in item.get(field, ()) if number in known]
    for number in numbers:
        last = number == numbers[-1]
        yield _line(call, known[number], before + ("└─ " if last else "├─ "))
        if number not in shown:
            shown.add(number)
            yield from _branches(call, known, known[number], field, before + ("   " if last else "│  "), shown)


def _line(call: Call, item: Facts, before: str) -> str:
    from swarmctl.screen import BOLD, STATES, clip, shown

    screen = call.screen
    words = [str(item["id"]), item["state"], shown(item.get("type", "")), shown(item.get("description", ""))]
    text = clip(before + "  ".join(word for word in words if word), screen.width)
    for word, colour in ((words[0], BOLD), (words[1], STATES.get(words[1]))):
        head, found, rest = text.partition(word)
        text = head + screen.paint(found, colour) + rest
    return text


def _drawing(known: dict[int, Facts]) -> Iterator[str]:
    """The same as a Mermaid flow chart, for a page."""
    yield "graph TD"
    for number, item in known.items():
        label = f"{number} {item.get('type', '')} ({item['state']})".replace('"', "'")
        yield f'    i{number}["{label}"]'
    for number, item in known.items():
        for waited in item.get(UP, ()):
            if waited in known:
                yield f"    i{waited} --> i{number}"
