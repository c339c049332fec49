"""swarmsh-tune persist: the rule and the profile as they are written, for disks of other hosts, and taken back."""

import os
import re
import shutil
import subprocess

import pytest

from swarmshd import __version__
from tests.disks import MQ, NONE, Said, Tree, as_nobody

RULES = "etc/udev/rules.d"


@pytest.fixture
def tree(tmp_path):
    made = Tree(tmp_path)
    made.disk("sda", "8:0", MQ)
    made.mount("/", "8:0", "ext4", "/dev/sda")
    return made


def known(tree: Tree, number: str, **properties: str) -> None:
    tree.write(f"/run/udev/data/b{number}", "\n".join(f"E:{key}={value}" for key, value in properties.items()))


def rules(tree: Tree) -> dict[str, str]:
    place = tree.root / RULES
    return {file.name: file.read_text() for file in place.iterdir()} if place.is_dir() else {}


def persist(tree: Tree, *words: str) -> Said:
    return tree.tune("persist", "/", *words)


def test_the_rule_names_the_disk_for_good_and_the_scheduler_first(tree):
    known(tree, "8:0", ID_MODEL="X", ID_SERIAL="Samsung_SSD_S3", ID_WWN="0x5002538d00000001")
    said = persist(tree, "--nr-requests", "128", "--scheduler", "deadline", "--read-ahead-kb", "64")
    assert said.rows == [[f"/{RULES}/99-swarmsh-0x5002538d00000001.rules", "written"]]
    assert rules(tree) == {
        "99-swarmsh-0x5002538d00000001.rules": f"# Written by swarmsh-tune {__version__} for what was sda then; "
        "`swarmsh-tune unpersist` removes it.\n"
        'ACTION!="remove", SUBSYSTEM=="block", ENV{DEVTYPE}=="disk", ENV{ID_WWN}=="0x5002538d00000001", '
        'TEST=="queue/scheduler", ATTR{queue/zoned}=="none", ATTR{queue/scheduler}="mq-deadline", '
        'ATTR{queue/nr_requests}="128", ATTR{queue/read_ahead_kb}="64"\n'
    }
    assert (
        persist(tree, "--nr-requests", "128", "--scheduler", "deadline", "--read-ahead-kb", "64").rows[0][1]
        == "as it was"
    )
    assert persist(tree, "--scheduler", "none").rows[0][1] == "written"
    assert 'ATTR{queue/scheduler}="none"' in "".join(rules(tree).values())


def test_the_most_telling_name_is_taken(tree):
    known(tree, "8:0", ID_SERIAL="S", ID_WWN="0x5002538d", ID_WWN_WITH_EXTENSION="0x5002538d0007")
    assert 'ENV{ID_WWN_WITH_EXTENSION}=="0x5002538d0007"' in rule_of(tree)
    known(tree, "8:0", ID_SERIAL="Disk_7")
    assert 'ENV{ID_SERIAL}=="Disk_7"' in rule_of(tree)
    known(tree, "8:0")
    tree.write("/sys/class/block/sda/device/wwid", "naa.5002538d00000001")
    assert 'ATTR{device/wwid}=="naa.5002538d00000001"' in rule_of(tree)
    tree.write("/sys/class/block/sda/wwid", "eui.0025385")
    assert 'ATTR{wwid}=="eui.0025385"' in rule_of(tree)


def rule_of(tree: Tree) -> str:
    shutil.rmtree(tree.root / "etc", ignore_errors=True)
    assert persist(tree, "--scheduler", "none").status == 0
    (text,) = rules(tree).values()
    return text


def test_a_multipath_is_named_by_its_uuid(tree):
    tree.device("virtual/block/dm-0", "253:0", scheduler=NONE, below=("sda",), dm__uuid="mpath-36001405")
    tree.mount("/data", "253:0", "xfs", "/dev/mapper/mpatha")
    assert tree.tune("persist", "/data", "--scheduler", "mq-deadline").status == 0
    assert 'ENV{DM_UUID}=="mpath-36001405"' in "".join(rules(tree).values())


@pytest.mark.parametrize("serial", ['evil", RUN+="/bin/sh', "a*", "a\nb", "", "x" * 300])
def test_what_could_be_more_than_a_name_is_no_name(tree, serial):
    known(tree, "8:0", ID_SERIAL=serial)
    said = persist(tree, "--scheduler", "none")
    if "\n" in serial:  # a line of its own, which says nothing
        assert said.status in {0, 1}
        assert "RUN" not in "".join(rules(tree).values())
        return
    assert said.status == 1
    assert said.line.startswith("sda: it has neither WWN, serial number nor UUID")
    assert rules(tree) == {}


def test_one_disk_without_a_name_and_nothing_is_written(tree):
    known(tree, "8:0", ID_SERIAL="S123")
    tree.disk("sdb", "8:16", MQ, where="pci0000:00/ata9")
    tree.virtual("md0", "9:0", "sda", "sdb", md__level="raid1")
    tree.mount("/both", "9:0", "ext4", "/dev/md0")
    assert tree.tune("persist", "/both", "--scheduler", "none").status == 1
    assert rules(tree) == {}


def test_it_wants_values(tree):
    said = persist(tree)
    assert said.status == 64
    assert said.line.startswith("persist: nothing is applied; say which values")
    assert persist(tree, "--scheduler", "kyber", "--nr-requests", "3").status == 64


def test_unpersist_takes_back_what_is_ours_and_no_more(tree):
    known(tree, "8:0", ID_SERIAL="S123")
    assert persist(tree, "--profile", "journal").status == 0
    others = {"99-swarmsh-mine.rules": "# my own\n", "60-other.rules": "x\n"}
    for name, text in others.items():
        (tree.root / RULES / name).write_text(text)
    said = tree.tune("unpersist")
    assert said.rows == [
        [f"/{RULES}/99-swarmsh-S123.rules", "removed"],
        [f"/{RULES}/99-swarmsh-mine.rules", "left, it is not of this program"],
    ]
    assert rules(tree) == others
    (tree.root / RULES / "99-swarmsh-S123.rules").write_text("# by hand\n")
    said = persist(tree, "--profile", "journal")
    assert (said.status, said.line) == (
        1, f"/{RULES}/99-swarmsh-S123.rules is not of this program, and left; move it away"
    )  # fmt: skip


def test_unpersist_of_one_disk(tree):
    known(tree, "8:0", ID_SERIAL="S123")
    tree.disk("sdb", "8:16", MQ, where="pci0000:00/ata9")
    known(tree, "8:16", ID_SERIAL="S456")
    for name in ("sda", "sdb"):
        assert tree.tune("persist", "--device", name, "--scheduler", "none").status == 0
    assert [row[1] for row in tree.tune("unpersist", "--device", "sda").rows] == ["removed"]
    assert list(rules(tree)) == ["99-swarmsh-S456.rules"]
    assert tree.tune("unpersist").status == 0
    assert tree.tune("unpersist").line == "there is nothing that persist has written"


@pytest.mark.parametrize("profiles", ["etc/tuned", "etc/tuned/profiles"])
def test_where_tuned_is_at_work_its_profile_says_the_same(tree, profiles):
    known(tree, "8:0", ID_WWN="0x5002538d")
    (tree.root / profiles).mkdir(parents=True)
    tree.write("/run/tuned/tuned.pid", "1")
    tree.write("/etc/tuned/active_profile", "throughput-performance")
    said = persist(tree, "--scheduler", "none", "--nr-requests", "64", "--read-ahead-kb", "256")
    assert said.line == "tuned is at work with the profile throughput-performance; now: tuned-adm profile swarmsh"
    conf = tree.root / profiles / "swarmsh/tuned.conf"
    assert conf.read_text().splitlines()[1:] == [
        *("[main]", "summary=The disks below the journal of swarmsh", "include=throughput-performance", ""),
        *("[disk_swarmsh0]", "type=disk", "devices_udev_regex=^ID_WWN=0x5002538d$", "elevator=none", "readahead=256"),
    ]
    assert len(rules(tree)) == 1
    tree.write("/etc/tuned/active_profile", "swarmsh")
    assert persist(tree, "--scheduler", "none").status == 0
    assert "include=throughput-performance" in conf.read_text()  # not itself
    said = tree.tune("unpersist")
    assert said.line == "tuned still has the profile swarmsh; now: tuned-adm profile throughput-performance"
    assert not conf.parent.exists()
    assert rules(tree) == {}


def test_btrfs_reads_ahead_by_what_udev_cannot_set(tree):
    known(tree, "8:0", ID_SERIAL="S123")
    tree.link("/sys/fs/btrfs/0a1b/devices/sda", "/sys/class/block/sda")
    tree.write("/sys/fs/btrfs/0a1b/bdi/read_ahead_kb", "4096")
    tree.mount("/srv", "0:42", "btrfs", "/dev/sda")
    said = tree.tune("persist", "/srv", "--read-ahead-kb", "128", "--nomerges", "1")
    assert said.status == 0
    assert "btrfs:0a1b: udev knows no file systems" in said.line
    assert "read_ahead" not in "".join(rules(tree).values())


def test_it_takes_root_here():
    if os.getuid() != 0:
        pytest.skip("needs root to become somebody else")
    said = as_nobody("persist", "/", "--rq-affinity", "1")
    assert (said.status, bool(re.match("persist takes root: sudo swarmsh-tune persist", said.line))) == (77, True)


def test_udev_takes_the_rule(tree):
    udevadm = shutil.which("udevadm")
    if udevadm is None or subprocess.run([udevadm, "verify", "--help"], capture_output=True, check=False).returncode:
        pytest.skip("there is no udevadm with verify (systemd 254) here")
    known(tree, "8:0", ID_SERIAL="S123")
    assert persist(tree, "--profile", "journal", "--wbt-lat-usec", "0").status == 0
    (name,) = rules(tree)
    ran = subprocess.run(
        [udevadm, "verify", str(tree.root / RULES / name)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
