"""What can be asked of the daemon about itself: how it is, its counters, its settings. As ``asking``, for operators."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from swarmctl.client.ask import Ask, Reply, Seconds, Words, as_words, member, milliseconds, whole


def export_page(
    after: str | None = None,
    *,
    state: Words | None = None,
    queue: Words | None = None,
    type: Words | None = None,
    team: Words | None = None,
    group: str | None = None,
) -> Ask[Reply]:
    """A page of everything but leases: ``rows``, each ``[kind, fields]``, and ``next``, where the next page begins.

    The rows are what ``import_rows`` takes.
    """
    many = {"state": state, "queue": queue, "type": type, "team": team}
    filters: dict[str, object] = {name: as_words(words) for name, words in many.items()}
    return Ask("export", whole, {**filters, "group": group, "after": after})


def import_rows(
    run: str,
    rows: Iterable[Sequence[object]],
    *,
    claimed: str | None = None,
    dry_run: bool | None = None,
    key: str | None = None,
) -> Ask[Reply]:
    """Bring in items, agents and queues from elsewhere, at most 1000 rows ``[kind, fields]``.

    Args:
        run: names the import of which these rows are a part.
        rows: as ``export_page`` gives them.
        claimed: what becomes of items that somebody holds there: ``hold``, ``ready`` or ``keep``.
        dry_run: only tell what would come in.
        key: makes the request repeatable.
    """
    arguments = {"run": run, "rows": [list(row) for row in rows], "claimed": claimed, "dry_run": dry_run, "key": key}
    return Ask("import", whole, arguments)


def config(*names: str) -> Ask[list[Reply]]:
    """The settings that the daemon runs with: all, or these."""
    return Ask("config", member("settings"), {"names": list(names) or None})


def config_set(values: Mapping[str, str], *, persist: bool | None = None) -> Ask[list[Reply]]:
    """Change settings, each written as people write it, until the daemon ends.

    ``persist`` changes nothing, and returns with each the ``line`` that the daemon's file may have for it.
    """
    return Ask("config_set", member("settings"), {"values": dict(values), "persist": persist})


def config_unset(*names: str) -> Ask[list[Reply]]:
    """Take back what ``config_set`` changed."""
    return Ask("config_unset", member("settings"), {"names": list(names)})


def reload(*, unset: Words | None = None) -> Ask[Reply]:
    """Have the daemon read its file again: what ``changed``, and what is ``waiting`` for a restart.

    ``unset`` also takes back what ``config_set`` changed.
    """
    return Ask("reload", whole, {"unset": as_words(unset)})


def stats(section: str | None = None) -> Ask[dict[str, Reply]]:
    """What the daemon counts, by section: all, or one."""
    return Ask("stats", member("sections"), {"section": section})


def health() -> Ask[list[Reply]]:
    """What is not as it should be: named conditions, the gravest first; nothing when all is well."""
    return Ask("health", member("conditions"), {})


def journal_part(
    want: str,
    stream: int | None = None,
    *,
    deep: bool | None = None,
    measure: bool | None = None,
    digest: bool | None = None,
    since: int | None = None,
    id: int | None = None,
    all: bool | None = None,
    dry_run: bool | None = None,
    prune: Seconds | None = None,
) -> Ask[Reply]:
    """A part of what the daemon tells of its journal's files: ``data``, and ``more`` while there is a next one.

    The parts together are one JSON object a line or, of ``backup``, the bytes of the backup. After the last one
    ``status`` is 0 if all went well, and 78 if there is damage; ``why`` says what went wrong.

    Args:
        want: ``list``, ``check``, ``dump``, ``archive``, ``backup`` or ``upgrade``.
        stream: the number that the part before came with; nothing else counts then.
        deep: of ``check``: make the newest snapshot anew from the one before it.
        measure: of ``check``: whether to measure the disk.
        digest: of ``check``: compare with the state that the daemon has.
        since: of ``dump``: only what happened after this position.
        id: of ``dump``: only what happened to this item.
        all: of ``archive``: compress all, whatever its age.
        dry_run: of ``archive``: only tell what would be done.
        prune: of ``archive``: remove what is older, in seconds.
    """
    arguments = {"want": want, "stream": stream, "deep": deep, "measure": measure, "digest": digest}
    of_archive = {"all": all, "dry_run": dry_run, "prune": milliseconds(prune)}
    return Ask("journal", whole, {**arguments, "since": since, "id": id, **of_archive})


def clear(
    queue: str,
    *,
    state: Words | None = None,
    older: Seconds | None = None,
    held: bool | None = None,
    reason: str | None = None,
    after_id: int | None = None,
) -> Ask[Reply]:
    """Cancel open items of a queue that nobody holds (with ``held``: also what is held), a bounded number at once.

    ``cleared`` says how many; with ``more`` ask again, with the ``after_id`` of the reply. ``older`` is seconds since
    they were submitted.
    """
    arguments = {"queue": queue, "state": as_words(state), "older": milliseconds(older), "held": held}
    return Ask("clear", whole, {**arguments, "reason": reason, "after_id": after_id})


def snapshot(upto: int | None = None, *, wait: Seconds = 60) -> Ask[Reply]:
    """Have a snapshot made: ``position``, ``bytes``, ``seconds``; ``done`` is false when it takes longer than ``wait``.

    Ask again then, with the ``upto`` of the reply; ``share`` says how far it is.
    """
    milliseconds(wait)
    return Ask("snapshot", whole, {"upto": upto}, wait=wait)


def reindex() -> Ask[Reply]:
    """Go through the daemon's indexes: ``items`` looked at, how many entries ``differed`` and were put right, which."""
    return Ask("reindex", whole, {})


def status() -> Ask[Reply]:
    """How the daemon is."""
    return Ask("status", whole, {})


def dashboard(queues: int | None = None, agents: int | None = None, failures: int | None = None) -> Ask[Reply]:
    """How the daemon is, and the queues, agents and failures that somebody would look at first, at most so many."""
    return Ask("dashboard", whole, {"queues": queues, "agents": agents, "failures": failures})
