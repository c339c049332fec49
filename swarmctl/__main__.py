"""``python -m swarmctl``: the same program as the ``swarmctl`` command."""

from __future__ import annotations

from swarmctl.cli import start

start()
