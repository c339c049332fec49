"""The drawing of the states in docs/architecture.md, made from the table along which items move.

``python -m tests.drawing`` prints it; test_docs compares.
"""

from swarmshd.protocol import STATES
from swarmshd.workqueue.records import ENDED, MOVES

BORN = ("scheduled", "blocked", "ready")
"""The states into which an item is submitted."""


def drawing() -> str:
    """A Mermaid state diagram; moves between the same two states share an arrow."""
    arrows: dict[tuple[str, str], list[str]] = {("[*]", state): ["submit"] for state in BORN}
    for move, (sources, targets) in MOVES.items():
        for source in sorted(sources, key=STATES.index):
            for target in sorted(targets, key=STATES.index):
                if source != target:
                    arrows.setdefault((source, target), []).append(move)
    arrows |= {(state, "[*]"): ["forget"] for state in STATES if state in ENDED}
    lines = [f"    {source} --> {target}: {', '.join(moves)}" for (source, target), moves in arrows.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])


if __name__ == "__main__":
    print(drawing())
