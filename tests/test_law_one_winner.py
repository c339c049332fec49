"""Law 1, one winner, through processes; and law 3: whose token is stale changes nothing."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import PATIENCE, ROOT
from tests.wire import Refused

pytestmark = pytest.mark.real

RACER = r"""
import json, sys
sys.path.insert(0, sys.argv[1])
from tests.wire import Wire, Refused
path, name, ids = sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
won, said = [], {}
with Wire(path) as wire:
    sys.stdin.readline()
    for number in ids:
        try:
            (item,) = wire.call("claim", agent=name, id=number)["items"]
            won.append([item["id"], item["fence"]])
        except Refused as refused:
            said[refused.code] = said.get(refused.code, 0) + 1
    while True:
        try:
            items = wire.call("claim", agent=name, queue=["any"], count=1)["items"]
            won += [[item["id"], item["fence"]] for item in items]
        except Refused as refused:
            said[refused.code] = said.get(refused.code, 0) + 1
            break
print(json.dumps([won, said]))
"""


def test_of_many_racing_claims_exactly_one_gets_the_item(daemon):
    line = {"type": "t", "description": "d"}
    with daemon.wire() as wire:
        ids = [
            reply["id"] for _, reply in wire.call("batch", commands=[["submit", line]] * 100, atomic=True)["replies"]
        ]
        wire.call("batch", commands=[["submit", line | {"queue": "any"}]] * 100, atomic=True)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(ROOT), daemon.socket, f"r{number}", json.dumps(ids)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = []
    for racer in racers:
        out, _ = racer.communicate(timeout=PATIENCE)
        mine, said = json.loads(out)
        won += mine
        assert set(said) <= {"conflict", "empty"}
        assert said["empty"] == 1
    assert len(won) == 200
    assert len({number for number, _ in won}) == 200
    assert len({fence for _, fence in won}) == 200


def test_a_stale_token_changes_nothing(daemon):
    with daemon.wire() as wire:
        number = wire.call("submit", type="t", description="d")["id"]
        (first,) = wire.call("claim", agent="a")["items"]
        wire.call("release", id=number, token=first["token"])
        (second,) = wire.call("claim", agent="b")["items"]
        assert second["fence"] > first["fence"]
        before = wire.call("show", id=number)
        wrong = first["token"].partition(".")[0] + "." + second["token"].partition(".")[2]
        for token in (first["token"], wrong, f"{second['fence']}.{'0' * 16}"):
            for verb, more in [
                ("complete", {}),
                ("fail", {}),
                ("release", {}),
                ("bury", {}),
                ("progress", {"percent": 9}),
            ]:
                with pytest.raises(Refused) as refused:
                    wire.call(verb, id=number, token=token, **more)
                assert refused.value.code == "lease_lost"
                assert refused.value.facts["holder"] == "b"
            assert wire.call("heartbeat", ids=[number], token=token)["lost"] == {number: "lease_lost"}
        assert wire.call("show", id=number) == before
        done = wire.call("complete", id=number, token=second["token"], note="once")
        assert wire.call("complete", id=number, token=second["token"], note="once") == done
        with pytest.raises(Refused) as refused:
            wire.call("complete", id=number, token=second["token"], note="other")
        assert refused.value.code == "conflict"
    daemon.restart()
    with daemon.wire() as wire:
        assert wire.call("complete", id=number, token=second["token"], note="once") == done
        assert wire.call("count", state=["done"]) == {"count": 1}
    assert os.path.exists(daemon.socket)
