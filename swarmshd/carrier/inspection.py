"""What is asked of the journal's files while the daemon writes to them: list, check, dump, archive, backup.

Programs beside the daemon look at the files, up to a position that is durable; so nothing is shown that a crash could
take back, and nobody waits for it. The archive alone is the keeper's to change.
"""

import json
import time

from swarmshd.carrier.digest import State, state_of
from swarmshd.carrier.streams import Stream, Streams
from swarmshd.commands import Refusal, encode_body
from swarmshd.commands.looks import JournalFiles
from swarmshd.engine import Client, Engine, Errand
from swarmshd.keeper import Keeper


class Inspection:
    """Carries out what is asked of the journal's files."""

    def __init__(self, engine: Engine, keeper: Keeper, streams: Streams) -> None:
        self._engine = engine
        self._keeper = keeper
        self._streams = streams

    async def journal(self, errand: Errand) -> bytes:
        """The next part of what was asked for. Raises Refusal, OSError."""
        command: JournalFiles = errand.asked
        if command.stream is not None:
            stream = self._streams.resume(errand.client, command.stream)
        elif command.want == "archive":
            return encode_body(await self._archive(command))
        else:
            stream = await self._begin(errand.client, command)
        return encode_body(await self._streams.part(stream))

    async def _begin(self, client: Client, command: JournalFiles) -> Stream:
        state: State | None = None
        if command.want == "check":
            self._check_memory(twice=command.digest)
            if command.digest:
                state = await state_of(self._engine)
        options = ["--upto", str(self._engine.journal.durable if state is None else state.position)]
        if state is not None:
            options += ["--live", state.digest.hex()]
        options += ["--now", str(time.time_ns() // 1_000_000)]
        options += ["--since", str(command.since)]
        if command.id is not None:
            options += ["--item", str(command.id)]
        options += ["--deep"] if command.deep else []
        options += [] if command.measure else ["--no-measure"]
        return self._streams.begin(client, command.want, options, frees=command.want != "list")

    def _check_memory(self, *, twice: bool) -> None:
        """A check loads all items once more; a copy of the daemon may take as much again. Raises Refusal."""
        largest = self._engine.settings.journal_rotation_bytes
        needed, most = self._keeper.memory_for_copy(largest)
        if twice:
            needed += self._engine.queue.tables.bytes
        if needed > most:
            text = f"a check needs about {needed >> 20} MiB of memory and may take {most >> 20}"
            raise Refusal("overloaded", f"journal: {text}; check a backup of it on another host")

    async def _archive(self, command: JournalFiles) -> dict[str, object]:
        done = await self._keeper.tend_archive(dry=command.dry_run, whatever_age=command.all, prune=command.prune)
        rows = [{"what": what, "file": f"archive/{name}"} for what, names in done._asdict().items() for name in names]
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        return {"data": data, "more": False, "done": 0, "of": 0, "status": 0, "why": ""}
