"""A daemon as it is, but that some of its constants are other ones, so that what is rare happens all the time."""

from pathlib import Path

from tests.conftest import Daemon

BUSY = """
from swarmshd import keeper
from swarmshd.engine import recovery
from swarmshd.journal import room, writer
for module in (writer, room):
    module.FIRST_ROOM, module.STEP, module.LOW = 64 << 10, 32 << 10, 16 << 10
Journal = recovery.Journal
recovery.Journal = lambda directory, rotation_bytes, **more: Journal(directory, 8 << 10, **more)
keeper.LOOK = keeper.FOLD_PATIENCE = 0.05
keeper.fold_threshold = lambda sizes: 24 << 10
"""
"""It turns, folds and archives all the time."""


class BusyDaemon(Daemon):
    """A daemon that runs some lines first; see `BUSY`."""

    def __init__(self, directory: Path, *settings: str, lines: str = BUSY) -> None:
        super().__init__(directory, *settings)
        self.lines = lines

    def command(self, *options: str) -> list[str]:
        interpreter, *words = super().command(*options)
        assert words[:2] == ["-m", "swarmshd.main"]
        program = f"{self.lines}\nimport sys\nfrom swarmshd import main\nsys.exit(main.main())"
        return [interpreter, "-c", program, *words[2:]]
