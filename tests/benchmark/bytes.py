"""What the journal takes for a command, counted in its files."""

from collections.abc import Callable

from swarmshd import records
from swarmshd.journal import files
from swarmshd.journal.scan import Scan
from tests.benchmark.figure import Figure, Found, at_most
from tests.benchmark.ground import Ground
from tests.benchmark.load import Client, submit
from tests.conftest import Daemon

BATCH = 16
BATCHES = 25
RESULT = b"all 214 tests have passed; the binary is in build/"
PAYLOAD = b"make -C src/module all check JOBS=4\n" * 8


def frames_between(daemon: Daemon, start: int, end: int) -> list[int]:
    """The sizes of the frames in the journal that hold events after position ``start`` up to ``end``."""
    found = []
    for _, path in files.listing(daemon.state).segments:
        data = path.read_bytes()
        scan = Scan(data, records.unpack_segment_header(data[: records.SECTOR]))
        found += [
            records.frame_size(header.length)
            for _, header in scan
            if header.kind == records.BATCH and start < header.end <= end
        ]
    return found


def frame_bytes(daemon: Daemon, act: Callable[[], object]) -> int:
    """The bytes that the journal takes for what ``act`` has done."""
    start = daemon.call("status")["position"]
    act()
    return sum(frames_between(daemon, start, daemon.call("status")["position"]))


def journal(ground: Ground) -> Found:
    """Bytes of a submit, a claim and a complete, in batches of 16."""
    with ground.daemon() as daemon:
        client = Client(daemon.socket)
        names = {"type": "build", "queue": "default", "description": "compile the module and run its tests"}
        content = sum(map(len, names.values())) + len(PAYLOAD)
        sizes = {}
        tokens: list[tuple[int, str]] = []

        def batches(verb: str, arguments: list[dict[str, object]]) -> float:
            def send() -> None:
                for at in range(0, len(arguments), BATCH):
                    batch = [[verb, line] for line in arguments[at : at + BATCH]]
                    for code, facts in client.call("batch", commands=batch)["replies"]:
                        assert code == 0, facts
                        tokens.extend((item["id"], item["token"]) for item in facts.get("items", ()))

            return frame_bytes(daemon, send) / len(arguments)

        count = BATCH * BATCHES
        sizes["submit"] = batches("submit", [submit(payload=PAYLOAD)] * count)
        sizes["claim"] = batches("claim", [{"agent": "builder-7"}] * count)
        ends: list[dict[str, object]] = [
            {"id": item, "token": token, "exit_status": 0, "result": RESULT} for item, token in tokens
        ]
        sizes["complete"] = batches("complete", ends)
        client.close()
    yield Figure(
        "journal, submit / its payload and names", sizes["submit"] / content, "x", at_most(2.5),
        f"{sizes['submit']:.0f} bytes for {content}, batches of {BATCH}",
    )  # fmt: skip
    yield Figure("journal, claim", sizes["claim"], "bytes", at_most(96), f"agent's name of 9 bytes, batches of {BATCH}")
    yield Figure(
        "journal, complete beyond its result", sizes["complete"] - len(RESULT), "bytes", at_most(64),
        f"result of {len(RESULT)} bytes, batches of {BATCH}",
    )  # fmt: skip
