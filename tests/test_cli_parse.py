"""The parser and its table: what a command line means, and what one is told that means nothing."""

import importlib
import time
from importlib import import_module
from typing import Any

import pytest

from swarmctl import options, parse, values, verbs
from swarmctl.parse import Usage
from swarmshd.protocol import PRIORITIES, VERBS


def line(*words: str) -> parse.Line:
    return parse.parse(words)


def wrong(*words: str) -> str:
    with pytest.raises(Usage) as raised:
        parse.parse(words)
    text = str(raised.value)
    assert "\n" not in text
    return text


# -- the table -----------------------------------------------------------------------------------------


def test_the_families_hold_what_they_are_said_to_hold() -> None:
    for family, names in verbs.FAMILIES.items():
        found = [verb.name for verb in import_module(f"swarmctl.verbs.{family}").VERBS]
        assert names.split(", ") == found, f"FAMILIES: {family}: {', '.join(found)}"
    assert all(verbs.find(name) is verb for name, verb in verbs.every().items())
    assert verbs.find("") is None


@pytest.mark.parametrize("verb", verbs.every().values(), ids=lambda verb: verb.name)
def test_each_verb_of_the_table_is_whole(verb: options.Verb) -> None:
    module, _, function = verb.run.partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert verb.wire == "" or verb.wire in VERBS
    assert verb.meaning
    assert not verb.meaning.endswith(".")
    assert verb.example.find(f"swarmctl {verb.name}") >= 0
    for option in verb.options:
        assert option.kind == "flag" or option.kind in values.READERS
        assert (option.meta == "") == (option.kind == "flag")


@pytest.mark.parametrize("verb", verbs.every().values(), ids=lambda verb: verb.name)
def test_each_example_parses(verb: options.Verb) -> None:
    import shlex

    command = verb.example.rpartition("swarmctl ")[2]
    for end in ("|", ")", "' EXIT", "$("):
        command = command.partition(end)[0]
    parsed = parse.parse(shlex.split(command))
    assert parsed.verb is verb


def test_every_verb_of_the_wire_can_be_typed() -> None:
    typed = {verb.wire for verb in verbs.every().values()}
    assert set(VERBS) - typed == {"hello", "batch", "claim_new"}


def test_other_names_lead_to_verbs_and_hide_none() -> None:
    for name, known in {**parse.SHORT, **parse.HABITS}.items():
        assert known in verbs.every()
        assert name not in verbs.every()


@pytest.mark.parametrize(
    ("spoken", "verb"),
    [
        ("put", "submit"), ("reserve", "claim"), ("touch", "heartbeat"), ("ack", "complete"), ("nack", "fail"),
        ("retry", "kick"), ("rm", "cancel"), ("kill", "cancel"), ("ps", "list"), ("describe", "show"),
    ],
)  # fmt: skip
def test_words_from_elsewhere_are_understood(spoken: str, verb: str) -> None:
    takes = verbs.every()[verb].bounds()[0]
    parsed = line(spoken, *["1"] * takes)
    assert parsed.verb is verbs.every()[verb]
    assert parsed.spoken == spoken


def test_a_noun_and_its_verb_are_one_verb() -> None:
    assert line("queue", "pause", "q1").verb is verbs.every()["pause"]
    assert line("queue", "set", "q1", "limit=3").words == ["q1", "limit=3"]
    assert line("queue").verb is verbs.every()["queue ls"]
    assert line("agent", "register", "a1").verb is verbs.every()["register"]
    assert line("agents").verb is verbs.every()["agent ls"]
    assert "did you mean queue show?" in wrong("queue", "shwo", "x")


def test_log_is_get_output() -> None:
    parsed = line("log", "42")
    assert parsed.verb is verbs.every()["get"]
    assert parsed.words == ["42", "output"]
    assert "did you mean get" in wrong("logs", "42")


# -- options -------------------------------------------------------------------------------------------


def test_global_options_stand_before_or_after_the_verb() -> None:
    before = line("--json", "--agent", "a1", "--timeout", "5", "claim")
    after = line("claim", "--timeout", "5", "--json", "--agent=a1")
    assert before.given == after.given == {"json": True, "agent": "a1", "timeout": 5000}


def test_the_last_of_two_counts_except_for_lists() -> None:
    assert line("--timeout", "5", "claim", "--timeout", "6").given["timeout"] == 6000
    parsed = line("submit", "t", "d", "--require", "a,b", "--require", "c", "--after", "1,x", "--after", "2")
    assert parsed.given["require"] == ["a", "b", "c"]
    assert parsed.given["after"] == [1, "x", 2]


def test_the_ways_to_write_a_value() -> None:
    for words in (("-p", "high"), ("-phigh",), ("--priority", "high"), ("--priority=high",)):
        assert line("submit", "t", "d", *words).given["priority"] == "high"
    assert line("claim", "-q").given == {"quiet": True}
    assert line("fail", "1", "--message=").given["message"] == ""
    assert line("fail", "1", "-m", "-x").given["message"] == "-x"


def test_names_of_options_are_never_abbreviated() -> None:
    assert wrong("claim", "--js") == "there is no option '--js'; did you mean --json?"
    assert "no option '-x'" in wrong("claim", "-x")
    assert "no option '-qj'" in wrong("claim", "-qj")


def test_what_begins_with_a_dash_stands_after_two() -> None:
    parsed = line("submit", "--", "t", "--json")
    assert parsed.words == ["t", "--json"]
    assert "json" not in parsed.given
    assert "stands after --" in wrong("progress", "1", "-5")


def test_an_option_of_a_verb_before_it_is_told_where_it_belongs() -> None:
    assert wrong("--queue", "x", "claim") == "there is no option '--queue'; it stands after its verb"


def test_values_that_mean_nothing_are_named() -> None:
    assert wrong("claim", "--wait", "soon") == "--wait: 'soon' is not a duration (30, 30s, 5m, 2h, 1d)"
    assert wrong("claim", "--wait") == "--wait wants a value (D)"
    assert wrong("claim", "--json=1") == "--json takes no value"
    assert "is not a priority" in wrong("submit", "t", "d", "-p", "urgent")
    assert "is not a name" in wrong("claim", "--queue", "a b")
    assert "is empty" in wrong("claim", "--queue", "")
    assert "is not a state" in wrong("list", "--state", "open")


def test_too_few_and_too_many_words() -> None:
    assert wrong("progress") == "too few words: swarmctl progress ID [PERCENT] [STATUS]"
    assert wrong("fail", "1", "a", "b") == "too many words, from 'b' on: swarmctl fail ID [REASON]"
    assert "takes options only" in wrong("list", "ready")
    assert line("cancel", *map(str, range(500))).words[-1] == "499"


def test_work_takes_its_command_after_two_dashes() -> None:
    parsed = line("work", "-j4", "--", "make", "-j", "--json", "--")
    assert parsed.rest == ["make", "-j", "--json", "--"]
    assert parsed.given == {"jobs": 4}
    assert "no COMMAND" in wrong("work", "--once")
    assert "no COMMAND" in wrong("work", "--")
    assert "stands after --" in wrong("work", "make", "--", "x")


def test_the_verbs_of_the_disks_tool_are_verbs_of_tune() -> None:
    assert line("tune", "plan", "/srv").words == line("tune", "disk", "plan", "/srv").words == ["plan", "/srv"]
    assert line("tune", "revert", "--force").verb is verbs.find("tune disk")
    assert line("tune", "check").verb is verbs.find("tune check")
    assert wrong("tune", "pla").startswith("there is no verb 'tune pla'")


def test_moments_that_have_passed() -> None:
    now = time.time() * 1000
    for words in ("-8h", "8h"):
        assert abs(values.past(words) - (now - 8 * 3_600_000)) < 60_000
    moment = values.past("03:00")
    assert 0 <= now - moment < 25 * 3_600_000
    assert time.localtime(moment / 1000)[3:6] == (3, 0, 0)
    assert values.past("2026-11-24T03:00:00Z") == 1795489200000
    for bad in ("yesterday", "25:00", "3:60", "-", "", "12:345"):
        with pytest.raises(ValueError, match="neither a time ago"):
            values.past(bad)
    assert values.since("42") == {"since": 42}, "a number alone is a position"
    assert values.since("2026-11-24T03:00:00Z") == {"at": 1795489200000}


def test_text_that_is_not_utf8_is_refused_but_paths_and_commands_are_not() -> None:
    bad = b"x\xff".decode("utf-8", "surrogateescape")
    assert wrong("submit", "t", bad) == r"'x\xff' is not UTF-8 text"
    assert "not UTF-8" in wrong("fail", "1", "-m", bad)
    assert "not UTF-8" in wrong(bad)
    assert line("submit", "t", "d", "--payload", bad).given["payload"] == bad
    assert line("work", "--", bad).rest == [bad]


def test_error_lines_show_no_control_characters() -> None:
    assert "\x1b" not in wrong("claim", "--wait", "\x1b[2J")
    assert "\u202e" not in wrong("\u202eclaim")
    assert len(wrong("claim", "--wait", "x" * 10_000)) < 200


def test_unknown_verbs_and_their_nearest() -> None:
    assert wrong("clam") == "there is no verb 'clam'; did you mean claim?"
    assert wrong("sumbit", "a", "b").endswith("did you mean submit?")
    assert wrong("xyzzy").endswith("swarmctl --help lists them")
    with pytest.raises(Usage) as raised:
        parse.parse(["clam"])
    assert raised.value.code == "unknown_verb"


# -- values --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("30", 30_000), ("30s", 30_000), ("5m", 300_000), ("2h", 7_200_000), ("1d", 86_400_000), ("0", 0),
        ("1.5h", 5_400_000), ("0.25", 250), ("200ms", 200), (".5", 500), ("3650d", values.DURATION_MAX),
    ],
)  # fmt: skip
def test_durations(text: str, ms: int) -> None:
    assert values.duration(text) == ms


@pytest.mark.parametrize(
    "text", ["", "s", "-1", "1w", "1 s", "5M", "1e3", "inf", "nan", "1..2", "1.", "٣", "3651d", "9" * 99]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError):
        values.duration(text)


def test_sizes() -> None:
    assert [values.size(text) for text in ("7", "64K", "1M", "1.5KiB", "2MB")] == [7, 65536, 1 << 20, 1536, 2 << 20]
    with pytest.raises(ValueError):
        values.size("1G")


def test_times_are_moments_or_durations_from_now(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    assert values.at("1970-01-02T00:00:00Z") == {"at": 86_400_000}
    assert values.at("1970-01-01T01:00:00.5+01:00") == {"at": 500}
    assert values.at("2h") == {"delay": 7_200_000}
    monkeypatch.setenv("TZ", "XYZ-3")
    time.tzset()
    try:
        assert values.at("1970-01-01T03:00:00") == {"at": 0}
    finally:
        monkeypatch.undo()
        time.tzset()
    for text in ("tomorrow", "2026-13-01", "-3h", ""):
        with pytest.raises(ValueError):
            values.at(text)


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("42", 42),
        ("007", 7),
        ("work_42", "work_42"),
        ("T-1", "T-1"),
        (str(values.ID_MAX), values.ID_MAX),
        ("a:b.c", "a:b.c"),
    ],
)
def test_items(text: str, item: object) -> None:
    assert values.item(text) == item


@pytest.mark.parametrize("text", ["0", "", "-1", "a b", "9223372036854775808", "1" * 5000, "x" * 201, "٣", "42\n", "é"])
def test_what_is_no_item(text: str) -> None:
    with pytest.raises(ValueError):
        values.item(text)


def test_items_with_tokens() -> None:
    assert values.item_and_token("42:41.9f3c2a7be0d14c55") == (42, "41.9f3c2a7be0d14c55")
    assert values.item_and_token("jira:T-1:41.9f3c2a7be0d14c55") == ("jira:T-1", "41.9f3c2a7be0d14c55")
    assert values.item_and_token("jira:41.2") == ("jira:41.2", None)
    assert values.item_and_token("42") == (42, None)


def test_lists_and_choices() -> None:
    assert values.queues("a,b") == ["a", "b"]
    assert values.queues("*") == ["*"]
    assert [values.priority(one) for one in PRIORITIES] == list(PRIORITIES)
    readers: dict[str, Any] = values.READERS
    assert readers["on_failure"]("run") == "run"
    for kind, text in (("names", "a,,b"), ("queues", "a,*"), ("on_failure", "die"), ("by", "x"), ("count", "0")):
        with pytest.raises(ValueError):
            readers[kind](text)
    assert values.percent("50%") == values.percent("50") == 50
    assert values.flag("yes")
    assert not values.flag("off")
