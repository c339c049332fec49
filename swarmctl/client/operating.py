"""What can be asked about the daemon itself: its settings. As ``asking``, for those who run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from swarmctl.client.ask import Ask, Reply, Words, as_words

if TYPE_CHECKING:
    from swarmctl.client.asker import Asker


def _reply(_: Asker, reply: Reply) -> Reply:
    return reply


def _settings(_: Asker, reply: Reply) -> list[Reply]:
    rows: list[Reply] = reply["settings"]
    return rows


def config(*names: str) -> Ask[list[Reply]]:
    """The settings that the daemon runs with: all, or these."""
    return Ask("config", _settings, {"names": list(names) or None})


def config_set(values: Mapping[str, str], *, persist: bool | None = None) -> Ask[list[Reply]]:
    """Change settings, each written as people write it, until the daemon ends.

    ``persist`` changes nothing, and returns with each the ``line`` that the daemon's file may have for it.
    """
    return Ask("config_set", _settings, {"values": dict(values), "persist": persist})


def config_unset(*names: str) -> Ask[list[Reply]]:
    """Take back what ``config_set`` changed."""
    return Ask("config_unset", _settings, {"names": list(names)})


def reload(*, unset: Words | None = None) -> Ask[Reply]:
    """Have the daemon read its file again: what ``changed``, and what is ``waiting`` for a restart.

    ``unset`` also takes back what ``config_set`` changed.
    """
    return Ask("reload", _reply, {"unset": as_words(unset)})
