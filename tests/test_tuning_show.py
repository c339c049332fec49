"""swarmsh-tune, looking: every stack of devices that a path may be on, on copies of other hosts' /sys and /proc."""

import os
import subprocess
import sys

import pytest

from swarmshd.tuning.attributes import NEVER, TUNABLE
from tests.conftest import ROOT
from tests.disks import MQ, NONE, Tree, as_nobody, here

pytestmark = pytest.mark.slow

BARE = "none"
"""What a device without a choice says."""


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def names(shown, *flags):
    return [device["device"] for device in shown["devices"] if all(device[flag] for flag in flags)]


def classes(shown):
    return {device["device"]: device["class"] for device in shown["devices"]}


def test_a_partition_leads_to_its_disk_which_has_the_queue(tree):
    tree.disk("sda", "8:0", queue__rotational="1", device__model="Old Rust 500")
    tree.partition("sda2", "8:2", "sda")
    tree.mount("/", "8:2", "ext4", "/dev/sda2")
    shown = tree.show("/var/lib/swarmsh")
    assert classes(shown) == {"sda2": "partition", "sda": "hdd"}
    assert names(shown, "queue") == names(shown, "top") == ["sda"]
    assert shown["mount"] == {"point": "/", "type": "ext4", "source": "/dev/sda2"}
    (disk,) = [device for device in shown["devices"] if device["queue"]]
    assert disk["values"]["scheduler"] == "mq-deadline"
    assert (disk["schedulers"], disk["depth"]) == (["mq-deadline", "kyber", "bfq", "none"], 64)
    assert (disk["carries"], disk["detail"], disk["bytes"]) == (["/"], "Old Rust 500", 1 << 30)


def test_volumes_on_encryption_on_raid_on_nvme(tree):
    for n in (0, 1):
        tree.disk(f"nvme{n}n1", f"259:{n}", NONE, where=f"pci0000:00/nvme/nvme{n}")
        tree.partition(f"nvme{n}n1p2", f"259:{n + 10}", f"nvme{n}n1")
    tree.virtual("md127", "9:127", "nvme0n1p2", "nvme1n1p2", md__level="raid1")
    tree.virtual("dm-0", "253:0", "md127", dm__uuid="CRYPT-LUKS2-abc-luks", dm__name="luks")
    tree.virtual("dm-1", "253:1", "dm-0", dm__uuid="LVM-abcdef", dm__name="vg-root")
    tree.virtual("dm-2", "253:2", "dm-0", dm__uuid="LVM-fedcba", dm__name="vg-var")
    tree.mount("/", "253:1", "xfs", "/dev/mapper/vg-root")
    tree.mount("/var", "253:2", "ext4", "/dev/mapper/vg-var")
    shown = tree.show("/var/lib/swarmsh")
    assert classes(shown) == {
        "dm-2": "lvm",
        "dm-0": "crypt",
        "md127": "md",
        "nvme0n1p2": "partition",
        "nvme0n1": "nvme",
        "nvme1n1p2": "partition",
        "nvme1n1": "nvme",
    }
    assert [device["level"] for device in shown["devices"]] == [0, 1, 2, 3, 4, 3, 4]
    assert names(shown, "queue") == ["nvme0n1", "nvme1n1"]
    assert names(shown, "top") == ["dm-2"]  # what is read ahead is decided where the file system is
    assert shown["devices"][-1]["carries"] == ["/", "/var"]
    assert shown["devices"][0]["detail"] == "vg-var"


def test_one_disk_below_two_volumes_is_shown_once(tree):
    tree.disk("sda", "8:0")
    tree.virtual("dm-0", "253:0", "sda", dm__uuid="LVM-a")
    tree.virtual("dm-1", "253:1", "sda", dm__uuid="LVM-b")
    tree.virtual("md0", "9:0", "dm-0", "dm-1", md__level="linear")
    tree.mount("/", "9:0", "ext4", "/dev/md0")
    assert names(tree.show("/")) == ["md0", "dm-0", "sda", "dm-1"]


def test_a_request_based_multipath_is_the_queue_and_its_paths_are_not(tree):
    tree.disk("sda", "8:0", NONE)
    tree.disk("sdb", "8:16", NONE, where="pci0000:00/ata2/host1")
    tree.device("virtual/block/dm-0", "253:0", scheduler=MQ, below=("sda", "sdb"), dm__uuid="mpath-36001405")
    tree.mount("/data", "253:0", "xfs", "/dev/mapper/mpatha")
    shown = tree.show("/data")
    assert classes(shown) == {"dm-0": "multipath", "sda": "ssd", "sdb": "ssd"}
    assert names(shown, "queue") == ["dm-0"]


@pytest.mark.parametrize("kernel", ["lists its paths", "older"])
def test_the_hidden_paths_of_an_nvme_multipath(tree, kernel):
    tree.device("virtual/nvme-subsystem/nvme-subsys0/nvme0n1", "259:0")
    for controller in (0, 1):
        name = tree.disk(f"nvme0c{controller}n1", f"259:{controller + 1}", NONE, where=f"pci0/nvme/nvme{controller}")
        if kernel != "older":
            tree.link(f"/sys/class/block/nvme0n1/multipath/{name}", f"/sys/class/block/{name}")
    tree.mount("/", "259:0", "ext4", "/dev/nvme0n1")
    shown = tree.show("/")
    assert classes(shown) == {"nvme0n1": "nvme-multipath", "nvme0c0n1": "nvme-path", "nvme0c1n1": "nvme-path"}
    assert names(shown, "queue") == ["nvme0c0n1", "nvme0c1n1"]
    assert names(shown, "top") == ["nvme0n1"]
    assert shown["devices"][1]["carries"] == ["/"]


def test_bcache_leads_to_the_disk_and_the_cache(tree):
    tree.disk("sda", "8:0", queue__rotational="1")
    tree.disk("nvme0n1", "259:0", NONE)
    tree.virtual("bcache0", "252:0", "nvme0n1", "sda", bcache__label="")
    tree.mount("/", "252:0", "ext4", "/dev/bcache0")
    shown = tree.show("/")
    assert classes(shown) == {"bcache0": "bcache", "nvme0n1": "nvme", "sda": "hdd"}
    assert names(shown, "queue") == ["nvme0n1", "sda"]


def test_btrfs_over_several_disks_reads_ahead_by_its_own_value(tree):
    uuid = "0a1b2c3d-0000-0000-0000-000000000000"
    for n, name in enumerate(("sda", "sdb")):
        tree.disk(name, f"8:{16 * n}", where=f"pci0000:00/ata{n}")
        tree.link(f"/sys/fs/btrfs/{uuid}/devices/{name}", f"/sys/class/block/{name}")
    tree.write(f"/sys/fs/btrfs/{uuid}/bdi/read_ahead_kb", "4096")
    tree.mount("/srv", "0:42", "btrfs", "/dev/sdb")
    shown = tree.show("/srv/x")
    assert names(shown) == [f"btrfs:{uuid}", "sda", "sdb"]
    assert names(shown, "queue") == ["sda", "sdb"]
    assert names(shown, "top") == [f"btrfs:{uuid}"]
    assert shown["devices"][0]["values"] == {"read_ahead_kb": "4096"}
    assert shown["devices"][1]["carries"] == ["/srv"]
    said = tree.tune("plan", "/srv", "--read-ahead-kb", "128", "--scheduler", "none")
    assert [row[:4] for row in said.rows] == [
        ["sda", "scheduler", "mq-deadline", "none"],
        ["sdb", "scheduler", "mq-deadline", "none"],
        [f"btrfs:{uuid}", "read_ahead_kb", "4096", "128"],
    ]


def test_an_overlay_is_what_its_upper_directory_is_on(tree):
    tree.disk("vda", "254:0", where="pci0000:00/virtio1")
    tree.mount("/", "254:0", "ext4", "/dev/vda")
    tree.mount("/merged", "0:50", "overlay", "overlay", r"rw,lowerdir=/l,upperdir=/up\040per,workdir=/w")
    (tree.root / "up per").mkdir()
    shown = tree.show("/merged/lib")
    assert classes(shown) == {"vda": "virtual"}
    assert shown["mount"]["type"] == "overlay"


@pytest.mark.parametrize("upper", ["o/u", "/var/lib/docker/overlay2/abc/diff"])
def test_an_overlay_from_inside_of_a_container_says_so(tree, upper):
    tree.mount("/", "0:50", "overlay", "overlay", f"rw,upperdir={upper}")
    shown = tree.show("/var/lib")
    assert shown["devices"] == []
    assert upper in shown["notes"][0]
    assert "--device" in shown["notes"][0]
    said = tree.tune("apply", "/var/lib", "--scheduler", "none")
    assert said.status == 64  # a copy is only looked at
    assert tree.tune("plan", "/var/lib", "--scheduler", "none").status == 1


@pytest.mark.parametrize(
    ("kind", "source", "said"),
    [
        ("tmpfs", "tmpfs", "is memory (tmpfs)"),
        ("nfs4", "server:/export", "no disk of this host"),
        ("cifs", "//server/share", "no disk of this host"),
        ("virtiofs", "share", "no disk of this host"),
        ("fuse.sshfs", "host:", "no disk of this host"),
        ("zfs", "tank/swarmsh", "the pool tank/swarmsh (zfs)"),
    ],
)
def test_what_is_on_no_disk_of_ours(tree, kind, source, said):
    tree.mount("/state", "0:33", kind, source)
    shown = tree.show("/state")
    assert shown["devices"] == []
    assert said in shown["notes"][0]
    assert tree.tune("plan", "/state").status == 0
    refused = tree.tune("plan", "/state", "--nr-requests", "64")
    assert refused.status == 1
    assert "no disk below" in refused.err[-1]


def test_a_loop_device_is_passed_by_and_its_file_followed(tree):
    tree.disk("sda", "8:0")
    tree.virtual("loop3", "7:3", scheduler=NONE, loop__backing_file="/images/disk.img")
    tree.mount("/", "8:0", "ext4", "/dev/sda")
    tree.mount("/mnt", "7:3", "ext4", "/dev/loop3")
    shown = tree.show("/mnt")
    assert classes(shown) == {"loop3": "loop", "sda": "ssd"}
    assert names(shown, "queue") == ["sda"]
    assert names(shown, "top") == ["loop3"]
    assert shown["mount"]["point"] == "/mnt"


def test_a_loop_device_that_is_named_is_a_disk(tree):
    tree.virtual("loop3", "7:3", scheduler=NONE, loop__backing_file="/images/disk.img (deleted)")
    said = tree.tune("plan", "--device", "loop3", "--scheduler", "bfq")
    assert (said.status, said.rows[0][:4]) == (2, ["loop3", "scheduler", "none", "bfq"])


def test_a_circle_of_devices_ends(tree):
    tree.virtual("dm-0", "253:0", dm__uuid="LVM-a")
    tree.virtual("dm-1", "253:1", "dm-0", dm__uuid="LVM-b")
    tree.link("/sys/class/block/dm-0/slaves/dm-1", "/sys/class/block/dm-1")
    tree.mount("/", "253:0", "ext4", "/dev/dm-0")
    assert names(tree.show("/")) == ["dm-0", "dm-1"]


def test_a_mount_that_hides_another_and_blanks_in_its_name(tree):
    tree.disk("sda", "8:0")
    tree.disk("sdb", "8:16", where="pci0000:00/ata2")
    tree.mount("/a", "8:0", "ext4", "/dev/sda")
    tree.mount("/a", "8:16", "ext4", "/dev/sdb")
    tree.mount(r"/with\040blank", "8:0", "ext4", "/dev/sda")
    assert names(tree.show("/a/b")) == ["sdb"]
    assert names(tree.show("/with blank/x")) == ["sda"]


def test_swap_lives_on_a_disk_too(tree):
    tree.disk("sda", "8:0")
    for n in (1, 2):
        tree.partition(f"sda{n}", f"8:{n}", "sda")
    tree.mount("/", "8:1", "ext4", "/dev/sda1")
    tree.swap("/dev/sda2")
    assert tree.show("/")["devices"][1]["carries"] == ["/", "swap"]


# -- what is planned -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "where", "files", "scheduler", "wanted"),
    [
        ("nvme0n1", "pci0/nvme/nvme0", {}, NONE, []),
        ("nvme0n1", "pci0/nvme/nvme0", {}, MQ, [["scheduler", "mq-deadline", "none"]]),
        ("sda", "pci0/ata1", {}, "mq-deadline kyber [bfq] none", [["scheduler", "bfq", "mq-deadline"]]),
        ("sda", "pci0/ata1", {"queue__rotational": "1"}, MQ, [["nr_requests", "256", "128"]]),
        ("sda", "pci0/ata1", {"mq__1__nr_tags": "64"}, MQ, [["scheduler", "mq-deadline", "none"]]),
        ("vda", "pci0/virtio1", {"queue__rotational": "1"}, MQ, []),
        ("vda", "pci0/virtio1", {}, NONE, []),
        ("vda", "pci0/virtio1", {"mq__1__nr_tags": "64"}, MQ, [["scheduler", "mq-deadline", "none"]]),
        ("sda", "VMBUS:00/guid/host0", {}, "none [kyber] mq-deadline", [["scheduler", "kyber", "mq-deadline"]]),
        ("sda", "pci0/ata1", {"device__vendor": "QEMU"}, MQ, []),
        ("sda", "pci0/ata1", {"queue__zoned": "host-managed"}, "mq-deadline kyber [bfq] none", []),
        ("sda", "pci0/ata1", {}, "[bfq] none", []),
    ],
)
def test_the_profile_for_a_journal_goes_by_the_class_of_the_disk(tree, name, where, files, scheduler, wanted):
    tree.disk(name, "8:0", scheduler, where=where, **files)
    tree.mount("/", "8:0", "ext4", f"/dev/{name}")
    said = tree.tune("plan", "/", "--profile", "journal")
    assert [row[1:4] for row in said.rows] == wanted
    assert said.status == (2 if wanted else 0)


@pytest.mark.parametrize(
    ("files", "scheduler", "advice"),
    [
        ({}, "mq-deadline kyber [bfq] none", "sda: bfq is not right for a journal, mq-deadline would be"),
        ({}, MQ, "sda: mq-deadline is right"),
        ({}, "[bfq] none", "sda: bfq stays; mq-deadline would be right, and this kernel does not have it ready"),
        ({"queue__zoned": "host-aware"}, "mq-deadline [bfq]", "sda: bfq stays; with zones"),
    ],
)
def test_by_default_it_only_says_what_is_not_right(tree, files, scheduler, advice):
    tree.disk("sda", "8:0", scheduler, **files)
    tree.mount("/", "8:0", "ext4", "/dev/sda")
    said = tree.tune("/")
    assert (said.status, said.out) == (0, "")
    assert any(advice in line for line in said.err)


def test_a_plan_says_what_else_is_changed(tree):
    tree.disk("sda", "8:0")
    tree.partition("sda1", "8:1", "sda")
    tree.partition("sda2", "8:2", "sda")
    tree.mount("/", "8:1", "ext4", "/dev/sda1")
    tree.mount("/home", "8:2", "ext4", "/dev/sda2")
    said = tree.tune("plan", "/var", "--scheduler", "noop", "--read-ahead-kb", "33")
    assert said.status == 2
    assert [row[:4] for row in said.rows] == [
        ["sda", "scheduler", "mq-deadline", "none"],
        ["sda", "read_ahead_kb", "128", "32"],
    ]
    text = "\n".join(said.err)
    assert "sda carries /, /home" in text
    assert "noop is called none since Linux 5.0" in text
    assert "read_ahead_kb 33 is kept as 32" in text
    assert "nr_requests becomes what the kernel gives to none" in text


def test_legacy_names_as_guides_have_them(tree):
    tree.disk("sda", "8:0")
    for old, new in (("deadline", None), ("noop", "none"), ("cfq", "bfq")):
        said = tree.tune("plan", "--device", "/dev/sda", "--scheduler", old)
        assert [row[3] for row in said.rows] == ([new] if new else [])


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["--scheduler", "bfq"], 1, "sda: the scheduler bfq is not there (there are none, mq-deadline); no module is"),
        (["--nr-requests", "256", "--scheduler", "none"], 1, "sda: nr_requests 256 is more than 64, what the disk"),
        (["--wbt-lat-usec", "0"], 1, "sda: it has no wbt_lat_usec; leave that option out"),
    ],
)
def test_what_this_disk_cannot_have(tree, words, status, line):
    tree.disk("sda", "8:0", "none [mq-deadline]")
    (tree.root / "sys/class/block/sda/queue/wbt_lat_usec").unlink()
    said = tree.tune("plan", "--device", "sda", *words)
    assert said.status == status
    assert said.err[-1].startswith(f"swarmsh-tune: {line}")


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (["--nr-requests", "0"], 64, "--nr-requests: 0 is out of bounds, 4 to 2048 (the kernel would take it, and"),
        (["--nr-requests", "1"], 64, "--nr-requests: 1 is out of bounds"),
        (["--nr-requests", "3"], 64, "--nr-requests: 3 is out of bounds"),
        (["--nr-requests", "100000"], 64, "--nr-requests: 100000 is out of bounds, 4 to 2048"),
        (["--nr-requests", "many"], 64, "--nr-requests: 'many' is no whole number; 4 to 2048"),
        (["--nr-requests", "0x80"], 64, "--nr-requests: '0x80' is no whole number"),
        (["--nr-requests", ""], 64, "--nr-requests: '' is no whole number"),
        (["--nr-requests"], 64, "--nr-requests wants a value"),
        (["--rq-affinity", "3"], 64, "--rq-affinity: 3 is out of bounds, 0 to 2"),
        (["--nomerges=3"], 64, "--nomerges: 3 is out of bounds"),
        (["--wbt-lat-usec", "-2"], 64, "--wbt-lat-usec: -2 is out of bounds, -1 to"),
        (["--scheduler", "[none]"], 64, "--scheduler: there is no scheduler '[none]'"),
        (["--scheduler", ""], 64, "--scheduler: there is no scheduler ''"),
        (["--scheduler", "a\x1b[31m"], 64, "--scheduler: there is no scheduler"),
        (["--profile", "fast"], 64, "--profile: there is no profile 'fast'; there are report, journal"),
        (["--write-cache", "write through"], 64, "--write-cache: write_cache is never changed: with it"),
        (["--fast"], 64, "there is no option --fast"),
        (["frob"], 4, "frob: No such file or directory; name a path"),
        (["/", "/tmp"], 64, "too many words, from '/tmp' on"),
        (["/", "--device", "sda"], 64, "it takes a PATH or --device, not both"),
        (["/no/such/path"], 4, "/no/such/path: No such file or directory; name a path that is there"),
        (["--device", "sdzz"], 4, "there is no block device sdzz; lsblk lists them"),
        (["--device", "../.."], 4, "there is no block device ../.."),
        (["--root", "/no/such/root"], 4, "--root: /no/such/root is no directory"),
    ],
)
def test_bad_input_is_one_line_and_a_status(words, status, line):
    said = here("plan", *words)
    assert (said.status, said.out) == (status, "")
    assert said.line.startswith(line)
    assert said.line.isprintable()
    as_json = here("plan", *words, "--json")
    assert (as_json.status, as_json.err) == (status, [])
    assert (as_json.json["ok"], as_json.json["exit"]) == (False, status)


@pytest.mark.parametrize("attribute", NEVER)
def test_what_is_never_touched_is_not_to_be_had(attribute):
    assert attribute not in TUNABLE
    said = here("apply", "--yes", f"--{attribute.replace('_', '-')}", "1")
    assert said.status == 64
    assert f"{attribute} is never changed" in said.line


def test_a_word_that_is_neither_verb_nor_path():
    said = here("frob")
    assert said.status == 64
    assert said.line.startswith("there is no verb 'frob'; there are show, plan, apply")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_looking_takes_no_root():
    said = as_nobody("show", "/")
    assert (said.status, bool(said.out)) == (0, True)
    assert as_nobody("plan", "/").status == 0


@pytest.mark.real
@pytest.mark.parametrize(
    ("after", "status", "said"),
    [
        (">/dev/full", 1, "swarmsh-tune: cannot write to stdout: No space left on device\n"),
        (">&-", 0, ""),
        ("| true", 0, ""),
    ],
)
def test_an_answer_that_cannot_be_given(tree, after, status, said):
    tree.disk("sda", "8:0")
    command = f"set -o pipefail; {sys.executable} -m swarmshd.tuning show --root {tree.root} --device sda {after}"
    ran = subprocess.run(["bash", "-c", command], stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    assert (ran.returncode, ran.stderr) == (status, said)


def test_names_that_are_no_text(tree):
    tree.disk("sda", "8:0", device__model="\x1b[31mred\u202e")
    said = tree.tune("show", "--device", "sda")
    assert said.rows[0][-1] == r"\x1b[31mred\u202e"
    path = b"/no/such/\xff".decode("utf-8", "surrogateescape")
    assert here("show", path).line.startswith(r"/no/such/\udcff: No such file")


def test_help_and_version_are_for_people(capfd):
    assert here("--help").out.startswith("Usage: swarmsh-tune")
    assert max(map(len, here("--help").out.splitlines())) <= 80
    assert here("--version").out.startswith("swarmsh-tune ")
