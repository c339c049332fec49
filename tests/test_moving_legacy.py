"""The old system's objects as rows, and rows as the old system's objects."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmctl.moving import legacy, lines, writing
from swarmctl.moving.legacy import Completion, Unusable
from swarmshd import cbor, commands
from swarmshd.commands import rows
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

DATA = ROOT / "tests" / "data" / "swarmsh"

CLAIM = {
    "work_item_id": "work_1750740943202476000",
    "agent_id": "agent_1",
    "reactor_id": "shell_agent",
    "claimed_at": "2025-06-24T04:55:43Z",
    "estimated_duration": "30m",
    "work_type": "feature",
    "priority": "high",
    "description": "Make it",
    "status": "active",
    "team": "core",
}
AT = 1750740943000


def row(**fields: Any) -> dict[str, Any]:
    """The row of a claim that differs from CLAIM by these; None leaves a field out."""
    value = {name: each for name, each in (CLAIM | fields).items() if each is not None}
    return legacy.claim_row(value, None)[0]


def kept(made: dict[str, Any]) -> Any:
    return json.loads(made.get("legacy", "{}"))


def test_a_claim_is_an_item_that_its_agent_holds():
    assert row() == {
        "ref": "work_1750740943202476000",
        "created_at": AT,
        "type": "feature",
        "team": "core",
        "description": "Make it",
        "priority": "high",
        "agent": "agent_1",
        "holder": "agent_1",
        "claims": 1,
        "state": "claimed",
    }


@pytest.mark.parametrize(
    ("status", "state", "said"),
    [
        ("active", "claimed", None),
        ("in_progress", "claimed", "in_progress"),
        ("reviewing", "claimed", "reviewing"),
        ("blocked", "claimed", "blocked"),
        ("pending", "ready", None),
        ("available", "ready", None),
        ("failed", "buried", None),
        ("cancelled", "cancelled", None),
        (5, "claimed", "5"),
    ],
)
def test_what_each_status_becomes(status, state, said):
    made = row(status=status)
    assert made["state"] == state
    assert made.get("status") == said
    assert made.get("holder") == ("agent_1" if state == "claimed" else None)


@pytest.mark.parametrize(
    ("result", "state", "note"),
    [("success", "done", None), ("It went well", "done", "It went well"), ("failed", "buried", None)],
)
def test_what_each_result_becomes(result, state, note):
    made = row(status="completed", completed_at="2025-06-24T05:00:00Z", result=result)
    assert (made["state"], made.get("note"), made["ended_at"]) == (state, note, AT + 257_000)
    assert made["ended_by"] == "agent_1"
    assert made.get("reason") == (result if state == "buried" else None)


def test_the_log_knows_better_than_the_claims():
    completion = Completion(AT + 1000, "agent_2", "success", 8)
    made, repairs = legacy.claim_row(CLAIM, completion)
    assert (made["state"], made["ended_at"], made["ended_by"], made["points"]) == ("done", AT + 1000, "agent_2", 8)
    assert repairs == ["active in the claims, completed in the log: it is done"]
    assert "holder" not in made


def test_an_item_that_went_on_after_its_completion_keeps_what_is_said_of_that():
    made = row(status="in_progress", completed_at="2025-06-24T05:00:00Z", result="success")
    assert made["state"] == "claimed"
    assert kept(made) == {"completed_at": "2025-06-24T05:00:00Z", "result": "success"}


@pytest.mark.parametrize(
    ("fields", "found", "repaired"),
    [
        ({"priority": "observability_team"}, {"priority": "medium"}, "priority"),
        ({"priority": 5}, {"priority": "medium"}, "priority"),
        ({"work_type": "Test It"}, {"type": "Test_It"}, "type"),
        ({"work_type": "-x"}, {"type": "_x"}, "type"),
        ({"work_type": None}, {"type": "unknown"}, "work_type"),
        ({"team": "a b"}, {"team": "a_b"}, "team"),
        ({"progress": 150}, {}, "progress"),
        ({"progress": "abc"}, {}, "progress"),
        ({"progress": 50.0}, {"percent": 50}, None),
        ({"progress": 33.3}, {}, "progress"),
        ({"description": "half \ud800"}, {"description": "half \ufffd"}, "UTF-8"),
        ({"description": None}, {"description": ""}, None),
        ({"description": 5}, {"description": "5"}, "UTF-8"),
        ({"claimed_at": "yesterday"}, {"created_at": 1750740943202}, None),
        ({"claimed_at": None, "work_item_id": "x"}, {"created_at": 0, "ref": "x"}, "time"),
        ({"work_item_id": "work 1"}, {"ref": "work_1.1b2a0a8e"}, "ref"),
        ({"work_item_id": "12"}, {}, "ref"),
        ({"agent_id": ""}, {}, None),
    ],
)
def test_what_is_wrong_is_made_right_and_kept_as_it_was(fields, found, repaired):
    value = {name: each for name, each in (CLAIM | fields).items() if each is not None}
    made, repairs = legacy.claim_row(value, None)
    assert {name: made[name] for name in found if name != "ref"} == {n: v for n, v in found.items() if n != "ref"}
    assert any(repaired in each for each in repairs) if repaired else repairs == []
    request = commands.structure("import", {"run": "r", "rows": [["item", made]]}, uid=0)
    assert [type(each) for each in request.command.rows] == [rows.Row]


def test_names_that_differ_stay_different():
    made = [row(work_item_id=name)["ref"] for name in ("work 1", "work_1", "work/ 1", "work\t1", "1", "2", "é", "ö")]
    assert len(set(made)) == len(made)
    assert not any(name.isdigit() for name in made)
    assert row(work_item_id="x" * 300)["ref"] != row(work_item_id="x" * 301)["ref"]


def test_a_long_description_is_whole_in_the_payload():
    text = "é" * 5000
    made = row(description=text)
    assert made["payload"] == text.encode()
    assert text.startswith(made["description"])
    assert len(made["description"].encode()) <= 8192


def test_a_long_result_is_whole():
    made = row(status="completed", result="é" * 5000)
    assert made["result"].decode() == "é" * 5000
    assert made["note"] == "é" * 4096


@pytest.mark.parametrize("value", [{}, {"work_item_id": ""}, {"work_item_id": None}])
def test_what_has_no_name_cannot_be_taken(value):
    for make in (lambda v: legacy.claim_row(v, None), legacy.completion_of, legacy.agent_row):
        with pytest.raises(Unusable):
            make(value)


def test_metrics_and_times_of_agents():
    metrics = {"tasks_completed": 3, "average_completion_time": "5m", "success_rate": 0.95}
    made, repairs = legacy.agent_row({"agent_id": "a", "capacity": "x", "performance_metrics": metrics})
    assert kept(made) == {"performance_metrics": metrics | {"success_rate": 95.0}, "was_capacity": "x"}
    assert repairs == ["capacity 'x' is no number"]
    usual = {"agent_id": "a", "status": "active", "performance_metrics": dict(legacy.METRICS), "current_workload": 9}
    assert legacy.agent_row(usual) == ({"agent": "a"}, [])


# -- there and back ------------------------------------------------------------------------------------------

words = st.text(max_size=12)
odd = st.one_of(words, st.integers(-5, 200), st.floats(allow_nan=False, allow_infinity=False), st.booleans())
some_names = st.sampled_from(["work_1750740943202476000", "a b", "12", "x", "é"])
times = st.sampled_from(["2025-06-24T04:55:43Z", "2025-06-24T04:55:43.000Z", "2025-06-24T04:55:43.125Z", "never", 5])
claims = st.fixed_dictionaries(
    {"work_item_id": some_names},
    optional={
        "agent_id": some_names,
        "claimed_by": some_names,
        "reactor_id": words,
        "claimed_at": times,
        "created_at": times,
        "estimated_duration": words,
        "work_type": odd,
        "priority": st.sampled_from(["low", "high", "medium", "team", 5]),
        "description": st.one_of(words, st.just("é" * 5000)),
        "status": st.sampled_from(["active", "in_progress", "completed", "failed", "pending", "blocked", "odd", 5]),
        "team": odd,
        "progress": odd,
        "last_update": times,
        "completed_at": times,
        "result": st.one_of(st.sampled_from(["success", "failed", "blocked", "é" * 5000]), words),
        "telemetry": st.dictionaries(words, words, max_size=2),
        "more": odd,
    },
)


def again(made: dict[str, Any], kind: str) -> dict[str, Any]:
    """What ``export --legacy`` makes of the row, read again."""
    out = {name: _Written() for name in writing.FILES}
    writing._write(out, iter([(kind, {**made, "id": 7, "seen_at": made.get("seen_at", 5000)})]))  # type: ignore[arg-type]
    if kind == "agent":
        (value,) = json.loads(out["agents.json"].text)
        return legacy.agent_row(value)[0]
    completions = json.loads(out[writing.LOG].text)
    completion = legacy.completion_of(completions[0])[1] if completions else None
    (value,) = json.loads(out[writing.CLAIMS].text) or [None]
    if value is None:
        assert completion is not None
        return legacy.stub_row(made["ref"], completion)[0]
    return legacy.claim_row(value, completion)[0]


class _Written(writing._Out):
    def __init__(self) -> None:
        self.count = 0
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


@given(claims)
def test_claims_written_back_and_read_again_say_the_same(value):
    made = legacy.claim_row(value, None)[0]
    assert again(made, "item") == made


@given(claims, st.sampled_from([None, AT]), st.sampled_from([None, "a"]), words, st.sampled_from([None, 0, 5]))
def test_completions_written_back_and_read_again_say_the_same(value, at, agent, result, points):
    completion = Completion(at, agent, result, points)
    made = legacy.claim_row(value, completion)[0]
    assert again(made, "item") == made
    stub = legacy.stub_row("work_1", completion)[0]
    assert again(stub, "item") == stub


agents = st.fixed_dictionaries(
    {"agent_id": some_names},
    optional={
        "team": odd,
        "status": st.sampled_from(["active", "idle"]),
        "capacity": odd,
        "current_workload": odd,
        "specialization": words,
        "last_heartbeat": times,
        "performance_metrics": st.one_of(st.just(dict(legacy.METRICS)), st.dictionaries(words, odd, max_size=2)),
        "last_reassignment": words,
    },
)


@given(agents)
def test_agents_written_back_and_read_again_say_the_same(value):
    made = legacy.agent_row(value)[0]
    found = again(made, "agent")
    assert without_time(found) == without_time(made)


def without_time(made: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in made.items() if name != "seen_at"}


def test_the_real_files_written_back_and_read_again_say_the_same():
    for name in ("work_claims.json", "archived_completed_work.json"):
        for value in json.loads((DATA / name).read_text()):
            made = legacy.claim_row(value, None)[0]
            assert again(made, "item") == made
    for value in json.loads((DATA / "agent_status.json").read_text()):
        made = legacy.agent_row(value)[0]
        assert without_time(again(made, "agent")) == without_time(made)


# -- our own lines -------------------------------------------------------------------------------------------


@given(st.dictionaries(st.sampled_from(["payload", "output", "result", "checkpoint"]), st.binary(max_size=9)))
def test_bytes_come_back(fields):
    line = lines.line_of("item", {"id": 5, "created_at": 1, "lease": 1500, "max_runtime": 2000, **fields})
    assert line.endswith("}\n")
    assert lines.row_of(json.loads(line)) == (
        "item", {"id": 5, "created_at": 1, "lease": 1500, "max_runtime": 2000, **fields}
    )  # fmt: skip


@given(st.text())
def test_legacy_comes_back_as_the_same_text(text):
    for said in (text, json.dumps({"b": text, "a": 1}), '{"a":1}'):
        line = lines.line_of("agent", {"agent": "a", "legacy": said})
        assert lines.row_of(json.loads(line))[1]["legacy"] == said


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "thing"},
        {"kind": ["item"]},
        {"created_at": 5},
        {"created_at": "yesterday"},
        {"created_at": "2025-06-24T04:55:43"},
        {"lease": "5m"},
        {"lease": True},
        {"payload": 5},
        {"payload": {"base64": "x"}},
        {"payload": {"base64": "eA=="}, "output": {"base32": ""}},
        {"description": "\ud800"},
        {"require": ["\ud800"]},
        {"id": 1 << 64},
        {"after": [[[[[[1]]]]]]},
    ],
)
def test_a_line_that_cannot_be_read_says_why(fields):
    with pytest.raises(Unusable):
        lines.row_of({"kind": "item", **fields})


def test_whatever_a_line_holds_can_be_sent():
    for value in (None, True, 1.5, -1, "é", {"a": [1]}, [{"b": "c"}]):
        row = lines.row_of({"kind": "item", "x": value})[1]
        assert cbor.dumps(row)
