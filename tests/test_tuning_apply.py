"""swarmsh-tune on real loop devices with real schedulers: what is applied is so, and what is reverted is as it was."""

import json
import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from swarmshd.tuning import applying, planning
from swarmshd.tuning.attributes import NEVER, wanted
from swarmshd.tuning.devices import Device
from swarmshd.tuning.host import Host
from swarmshd.tuning.record import Record, alone
from swarmshd.tuning.stack import below_device
from tests.disks import Loop, as_nobody, here, loops
from tests.filesystem import run

pytestmark = [pytest.mark.real, pytest.mark.skipif(os.getuid() != 0, reason="needs root to change a disk's settings")]


@pytest.fixture
def loop(tmp_path, monkeypatch):
    for made in loops(tmp_path):
        monkeypatch.setenv("RUNTIME_DIRECTORY", made.run)
        yield made


def test_every_scheduler_and_depth_is_applied_and_undone(loop: Loop) -> None:
    before = loop.values()
    for scheduler, depths in {"none": [4, 128], "mq-deadline": [4, 2048], "kyber": [64], "bfq": [300]}.items():
        for depth in depths:
            said = loop.apply("--scheduler", scheduler, "--nr-requests", str(depth))
            assert said.status == 0, said.err
            assert (loop.get("scheduler"), loop.get("nr_requests")) == (scheduler, str(depth))
            assert loop.tune("verify").status == 0
    assert loop.revert().status == 0
    assert loop.values() == before
    assert loop.revert().line == "nothing to put back"


def test_every_other_value_is_applied_and_undone(loop: Loop) -> None:
    before = loop.values()
    words = "--read-ahead-kb 65 --rq-affinity 2 --nomerges 1 --wbt-lat-usec 0".split()
    planned = loop.tune("plan", *words)
    assert planned.status == 2
    assert [row[1:4] for row in planned.rows] == [
        ["rq_affinity", "1", "2"],
        ["nomerges", "0", "1"],
        ["wbt_lat_usec", "2000", "0"],
        ["read_ahead_kb", before["read_ahead_kb"], "64"],
    ]
    assert loop.values() == before
    assert loop.apply(*words).status == 0
    changed = {"read_ahead_kb": "64", "rq_affinity": "2", "nomerges": "1", "wbt_lat_usec": "0"}
    assert loop.values() == before | changed
    assert loop.tune("plan", *words).status == 0
    assert loop.apply("--wbt-lat-usec", "-1").status == 0  # the kernel's own
    assert loop.get("wbt_lat_usec") == {"0": "2000", "1": "75000"}[loop.get("rotational")]
    assert loop.revert().status == 0
    assert loop.values() == before


def test_what_a_change_of_the_scheduler_resets_comes_back_too(loop: Loop) -> None:
    loop.set("nr_requests", 77)
    said = loop.apply("--scheduler", "mq-deadline")
    assert said.status == 0
    assert any("nr_requests becomes what the kernel gives to mq-deadline" in line for line in said.err)
    assert loop.get("nr_requests") == "256"
    assert loop.revert().status == 0
    assert (loop.get("scheduler"), loop.get("nr_requests")) == ("none", "77")


def test_a_depth_that_is_there_already_is_written_again_after_the_scheduler(loop: Loop) -> None:
    loop.set("nr_requests", 100)
    assert loop.apply("--scheduler", "kyber", "--nr-requests", "100").status == 0
    assert (loop.get("scheduler"), loop.get("nr_requests")) == ("kyber", "100")


def test_applied_twice_reverts_to_what_was_there_first(loop: Loop) -> None:
    before = loop.values()
    for scheduler in ("bfq", "kyber", "mq-deadline"):
        assert loop.apply("--scheduler", scheduler).status == 0
    assert loop.apply("--scheduler", "mq-deadline").line.endswith("nothing to do")
    assert loop.revert().status == 0
    assert loop.values() == before


def test_the_disk_itself_says_how_much_it_takes(loop: Loop) -> None:
    before = loop.values()
    said = loop.apply("--scheduler", "none", "--nr-requests", "129")
    assert said.status == 1
    assert (
        f"{loop.name}: nr_requests 129 is more than 128, what the disk itself takes without a scheduler" in said.err[-2]
    )
    assert said.err[-1].endswith("nothing was changed")
    assert loop.values() == before


# -- who else is there ---------------------------------------------------------------------------------


def test_what_somebody_else_has_changed_since_is_theirs(loop: Loop) -> None:
    assert loop.apply("--scheduler", "bfq", "--nomerges", "1", "--rq-affinity", "2").status == 0
    loop.set("scheduler", "kyber")
    loop.set("rq_affinity", 0)
    checked = loop.tune("verify")
    assert checked.status == 1
    assert {row[1] for row in checked.rows if row[4] != "as applied"} == {"scheduler", "rq_affinity"}
    said = loop.revert()
    assert said.status == 1
    assert (
        f"{loop.name}: scheduler: somebody else has made it kyber since; left (--force puts back none)" in said.err[0]
    )
    assert loop.values() == loop.first | {"scheduler": "kyber", "rq_affinity": "0", "nr_requests": "256"}
    assert loop.revert("--force").status == 0
    assert loop.values() == loop.first


def test_a_depth_that_somebody_else_has_set_survives_the_scheduler_going_back(loop: Loop) -> None:
    assert loop.apply("--scheduler", "bfq").status == 0
    loop.set("nr_requests", 99)
    assert loop.revert().status == 1
    assert (loop.get("scheduler"), loop.get("nr_requests")) == ("none", "99")


def test_what_was_changed_by_somebody_else_before_a_second_apply_is_what_was_there(loop: Loop) -> None:
    assert loop.apply("--nomerges", "1").status == 0
    loop.set("nomerges", 2)
    assert loop.apply("--nomerges", "0").status == 0
    assert loop.revert().status == 0
    assert loop.get("nomerges") == "2"


def test_one_at_a_time(loop: Loop) -> None:
    with alone():
        said = loop.apply("--scheduler", "bfq")
        assert said.status == 75
        assert said.line == f"another swarmsh-tune (process {os.getpid()}) is at work; try again when it has ended"
        assert loop.revert().status == 75
    assert loop.values() == loop.first
    assert loop.apply("--scheduler", "bfq").status == 0


# -- what goes wrong -----------------------------------------------------------------------------------


def plan_for(loop: Loop, **values: str) -> planning.Plan:
    given = {name: wanted(name, value) for name, value in values.items()}
    return planning.plan(below_device(Host(), loop.name), given, planning.REPORT)


def applied(loop: Loop, made: planning.Plan) -> tuple[Record, list[applying.Done]]:
    with alone():
        record = Record.load(Host().boot_id)
        return record, applying.apply(record, made)


def test_a_disk_that_disappears_between_plan_and_apply(loop: Loop) -> None:
    made = plan_for(loop, scheduler="bfq", nomerges="1")
    loop.remove()
    record, done = applied(loop, made)
    assert [(each.attribute, each.fault) for each in done] == [("scheduler", "it is gone"), ("nomerges", "it is gone")]
    assert record.entries == {}


def test_another_disk_under_the_same_name_is_left_alone(loop: Loop) -> None:
    made = plan_for(loop, scheduler="bfq")
    loop.detach()
    loop.attach()
    record, done = applied(loop, made)
    assert [each.fault for each in done] == ["it is another disk than the one that was planned for"]
    assert (record.entries, loop.get("scheduler")) == ({}, "none")


def test_another_disk_under_the_same_name_is_not_reverted(loop: Loop) -> None:
    assert loop.apply("--nomerges", "2").status == 0
    loop.detach()
    loop.attach()
    assert loop.tune("verify").status == 1
    said = loop.revert()
    assert (said.status, [row[3] for row in said.rows]) == (0, ["gone"])
    assert loop.get("nomerges") == "2"
    assert loop.revert().line == "nothing to put back"


def test_what_was_about_to_be_written_when_it_died_can_be_undone(loop: Loop) -> None:
    with alone():
        record = Record.load(Host().boot_id)
        device = Device.named(Host(), loop.name)
        assert device is not None
        for attribute, value in loop.first.items():
            record.begin(device, attribute, value, {"scheduler": "bfq", "nomerges": "1"}.get(attribute, ""))
        record.save()
        applying.write(device, "scheduler", "bfq")
    assert loop.tune("verify").status == 1
    assert loop.revert().status == 0
    assert loop.values() == loop.first


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
def test_a_read_only_sysfs_is_said_and_nothing_is_changed(loop: Loop) -> None:
    read_only = ["unshare", "--mount", "sh", "-c", 'mount -o remount,bind,ro /sys && exec "$@"', "sh"]
    said = loop.tune("apply", "--yes", "--scheduler", "bfq", "--nomerges", "1", before=read_only)
    assert said.status == 77
    assert any("/sys is read-only here (a container?); run it on the host itself" in line for line in said.err)
    assert said.err[-1].endswith("0 of 2 applied")
    assert loop.values() == loop.first
    assert loop.tune("verify").line == "nothing was applied since the host started"


def test_it_takes_root_and_yes(loop: Loop) -> None:
    said = as_nobody("apply", "--yes", "--device", loop.name, "--scheduler", "bfq")
    assert said.status == 77
    assert said.line == f"apply takes root: sudo swarmsh-tune apply --yes --device {loop.name} --scheduler bfq"
    assert as_nobody("revert").status == 77
    without = loop.tune("apply", "--scheduler", "bfq")
    assert without.status == 2
    assert without.err[-1].endswith("nothing was changed; with --yes it is")
    assert loop.values() == loop.first


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 9}', '{"version": 1, "boot_id": "BOOT", "entries": [{"device": "sda"}]}']
)
def test_a_damaged_record_is_one_line_and_nothing_is_changed(loop: Loop, text: str) -> None:
    state = Path(loop.run, "state.json")
    state.parent.mkdir()
    state.write_text(text.replace("BOOT", Host().boot_id))
    for said in (loop.apply("--scheduler", "bfq"), loop.revert(), loop.tune("verify")):
        assert said.status == 78
        assert f"{state} is damaged" in said.err[-1]
    assert loop.values() == loop.first


def test_a_record_of_another_boot_counts_for_nothing(loop: Loop) -> None:
    assert loop.apply("--scheduler", "bfq").status == 0
    state = Path(loop.run, "state.json")
    facts = json.loads(state.read_text())
    state.write_text(json.dumps(facts | {"boot_id": "0" * 32}))
    assert loop.revert().line == "nothing to put back"
    assert loop.get("scheduler") == "bfq"


def test_what_the_kernel_makes_of_a_value_is_compared(loop: Loop) -> None:
    device = Device.named(Host(), loop.name)
    assert device is not None
    for attribute, value, said in (
        ("nr_requests", "3", "the kernel took 3, and stored 4"),
        ("read_ahead_kb", "33", "the kernel took 33, and stored 32"),
        ("rq_affinity", "3", "the kernel took 3, and stored 1"),
        ("scheduler", "noop", "the kernel refuses noop (invalid argument); it takes none, mq-deadline, kyber, bfq"),
    ):
        with pytest.raises(applying.NotWritten, match=said.replace("(", r"\(").replace(")", r"\)")):
            applying.write(device, attribute, value)
    for attribute in NEVER:
        with pytest.raises(AssertionError):
            applying.write(device, attribute, "1")


def test_json_says_the_same(loop: Loop) -> None:
    facts = loop.tune("apply", "--yes", "--scheduler", "bfq", "--json").json
    assert facts["ok"]
    assert [(row["attribute"], row["before"], row["now"]) for row in facts["done"]] == [("scheduler", "none", "bfq")]
    assert {row["attribute"] for row in loop.tune("verify", "--json").json["done"]} >= {"scheduler"}
    assert loop.tune("revert", "--json").json["faults"] == 0


def test_the_loop_devices_of_others_are_as_they_were() -> None:
    """Nothing of these tests is left: neither devices nor their settings."""
    said = subprocess.run(
        ["losetup", "--list", "--noheadings", "-O", "NAME,BACK-FILE"], capture_output=True, text=True, check=True
    )
    assert "test_tuning" not in said.stdout


def test_the_disk_section_of_the_guide(loop: Loop) -> None:
    """``cat …/scheduler``, ``echo deadline``, ``echo 128 | tee …/nr_requests``: one line each, verified, undone."""
    assert loop.tune("show").rows[0][3:5] == ["none", "128"]
    said = loop.apply("--scheduler", "deadline", "--nr-requests", "128")
    assert said.status == 0
    assert any("deadline is called mq-deadline since Linux 5.0" in line for line in said.err)
    assert (loop.get("scheduler"), loop.get("nr_requests")) == ("mq-deadline", "128")
    assert loop.tune("verify", "--scheduler", "deadline", "--nr-requests", "128").status == 0
    assert loop.revert().status == 0
    assert loop.values() == loop.first


def test_a_real_btrfs_over_two_disks_and_an_overlay_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    if shutil.which("mkfs.btrfs") is None:
        pytest.skip("mkfs.btrfs is not installed (apt-get install btrfs-progs)")
    place, merged = tmp_path / "btrfs", tmp_path / "merged"
    for directory in (place, merged, tmp_path / "0", tmp_path / "1"):
        directory.mkdir()
    with ExitStack() as undo:
        names = []
        for number in ("0", "1"):
            made = loops(tmp_path / number, 160)
            names.append(next(made).name)
            undo.callback(made.close)
        devices = [f"/dev/{name}" for name in names]
        run("mkfs.btrfs", "--quiet", "--data", "raid1", "--metadata", "raid1", *devices)
        run("btrfs", "device", "scan", *devices)
        run("mount", "-t", "btrfs", devices[1], str(place))
        undo.callback(run, "umount", str(place))
        for name in ("lower", "upper", "work"):
            (place / name).mkdir()
        run(
            "mount",
            "-t",
            "overlay",
            "-o",
            f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work",
            "x",
            str(merged),
        )
        undo.callback(run, "umount", str(merged))
        shown = here("show", str(merged), "--json").json
        pool = shown["devices"][0]
        assert (pool["class"], pool["top"]) == ("btrfs", True)
        assert {device["device"] for device in shown["devices"] if device["class"] == "loop"} == set(names)
        before = pool["values"]["read_ahead_kb"]
        planned = here("plan", str(merged), "--read-ahead-kb", "64")
        assert [row[:4] for row in planned.rows] == [[pool["device"], "read_ahead_kb", before, "64"]]
        assert here("apply", "--yes", str(place), "--read-ahead-kb", "64").status == 0
        assert here("show", str(place), "--json").json["devices"][0]["values"] == {"read_ahead_kb": "64"}
        assert here("revert").status == 0
        assert here("show", str(place), "--json").json["devices"][0]["values"] == {"read_ahead_kb": before}
