"""The one table of what can be typed, by family.

Each verb has its positionals as the usage line shows them, its options, the wire verb it asks, one line of meaning, an
example, its group in the help and the function that carries it out. Parser, help pages, completions and the check of
the manual page are made from this table; no verb and no option exists outside it.

The functions are named as text (``module:function``) and imported when the verb is called, and a family is imported
when one of its verbs is typed: so a common verb loads nothing of the others.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from swarmctl.options import Verb

FAMILIES = {
    "work": "submit, claim, heartbeat, progress, complete, fail, release, work, lock, unlock, hold, bury",
    "look": "list, show, count, get, held, explain, deps, locks, wait, watch, history, whoami",
    "parts": (
        "kick, cancel, edit, pause, resume, queue ls, queue show, queue set, queue close, queue clear, "
        "register, agent ls, agent show, agent quiet, agent wake, agent evict, limit"
    ),
    "daemon": (
        "export, import, status, dashboard, top, stats, health, config show, config get, config set, config "
        "unset, config reload"
    ),
    "journal": (
        "journal list, journal check, journal dump, journal repair, journal archive, journal upgrade, journal "
        "snapshot, journal reindex, backup"
    ),
    "host": "completion, tune disk, tune check, install-units, help",
}
"""The verbs of each family: so none is loaded to see that a verb is not in it."""


def _family(name: str) -> tuple[Verb, ...]:
    verbs: tuple[Verb, ...] = __import__(f"{__name__}.{name}", fromlist=("VERBS",)).VERBS
    return verbs


def find(name: str) -> Verb | None:
    """The verb of that name, if there is one."""
    for family, names in FAMILIES.items():
        if name in names.split(", "):
            return next(verb for verb in _family(family) if verb.name == name)
    return None


def every() -> dict[str, Verb]:
    """All verbs by name, in the order in which people are shown them."""
    return {verb.name: verb for family in FAMILIES for verb in _family(family)}
