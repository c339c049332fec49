"""What an argument may be: its type names its kind, and says what is checked.

Attributes keep the wire's names and units: milliseconds, and an item named by its number or its ``ref``.
"""

from typing import NewType

from swarmshd import protocol

Name = NewType("Name", str)
"""A name as :func:`swarmshd.protocol.is_name` allows it."""
QueueName = NewType("QueueName", str)
"""The name of a queue of users; those that begin with @ are the daemon's own, and can only be looked at."""
Text = NewType("Text", str)
"""Text of any length; the rules know how long it may be."""
Note = NewType("Note", str)
"""Text of at most NOTE_MAX bytes."""
Milliseconds = NewType("Milliseconds", int)
"""A duration, from 0 to a hundred years."""
Instant = NewType("Instant", int)
"""Milliseconds since the epoch, to the year 9999."""
Count = NewType("Count", int)
"""A number from 0 to 2**31 - 1."""
ItemId = NewType("ItemId", int)
"""The id of an item, or 0 for before the first."""
Position = NewType("Position", int)
"""A position of the journal."""
Percent = NewType("Percent", int)
"""From 0 to 100."""
Priority = NewType("Priority", int)
"""Index into PRIORITIES; on the wire its name."""
Reference = int | str
"""How a peer names an item: its id (int) or its external ref (str)."""
Kin = NewType("Kin", str)
"""Another item, as whoever exported it knew it: its ref, ``#ID@CREATED``, or ``#ID`` when it was forgotten there."""
Bytes = NewType("Bytes", bytes)
"""A byte string. Text is not bytes."""
Assignments = NewType("Assignments", dict[str, str])
"""From names to texts."""

DURATION_MAX = 100 * 366 * 86_400_000
INSTANT_MAX = 253_402_300_799_999
ID_MAX = (1 << 63) - 1
CLAIM_MAX = 1000
FILTER_MAX = 256
"""Most queues, types or teams that one claim names; filters are kept."""

LIST_MAX = 1000
DASHBOARD_MAX = 1000
EVENTS_MAX = 10_000
"""Most events in one reply."""

WATCHED_MAX = 1000
"""Most items that one request names whose events it wants."""

MEDIUM = protocol.PRIORITIES.index("medium")
