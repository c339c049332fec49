"""Law 8, least privilege, as far as the socket goes: who may use which verbs, and whose items are whose.

Clients are processes of other users; the kernel tells the daemon who they are.
"""

import grp
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from swarmshd.commands import COMMANDS
from swarmshd.protocol import ADMIN, READ, VERBS, WORK
from tests.conftest import PATIENCE, ROOT, Daemon
from tests.test_wire_fuzz import sound

pytestmark = [pytest.mark.real, pytest.mark.skipif(os.getuid() != 0, reason="needs root to become other users")]

NOBODY = 65534
ONE, TWO, STRANGER = 54321, 54322, 54323
"""Numbers that no user of this host has."""

CLIENT = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from tests.wire import Wire, Refused
uid, gid, groups, calls = json.loads(sys.argv[3])
os.setgroups(groups); os.setgid(gid); os.setuid(uid)
found = []
with Wire(sys.argv[2]) as wire:
    for verb, arguments in calls:
        try:
            found.append([0, wire.call(verb, **arguments)])
        except Refused as refused:
            found.append([refused.code, refused.facts])
print(json.dumps([os.getpid(), found], default=repr))
"""


def as_user(
    daemon: Daemon, uid: int, calls: Sequence[Any], gid: int | None = None, groups: Sequence[int] = ()
) -> tuple[int, list[Any]]:
    """The pid of a process of that user, and the replies to its requests."""
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, str(ROOT), daemon.socket, json.dumps([uid, gid or uid, list(groups), calls])],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pid, found = json.loads(done.stdout)
    return pid, found


@pytest.fixture
def guarded(make_daemon):
    """A daemon that everybody can reach, and in which few may do something."""

    def start(*settings: str) -> Daemon:
        daemon: Daemon = make_daemon("SOCKET_MODE=0666", *settings)
        daemon.directory.parent.chmod(0o755)
        daemon.directory.chmod(0o755)
        return daemon.start()

    return start


def test_classes_of_verbs(guarded):
    """Each verb is denied to whoever lacks its class, before anything else is looked at."""
    daemon = guarded(f"ACCESS_READ={NOBODY}", f"ACCESS_WORK={ONE}", f"ACCESS_ADMIN={TWO}")
    verbs = [verb for verb in COMMANDS if verb not in ("hello", "hold", "register")]
    calls = [[verb, sound(verb)] for verb in verbs]
    rights = {
        NOBODY: {READ},
        ONE: {READ, WORK},
        TWO: {READ, WORK, ADMIN},
        TWO + 1: set(),
    }
    for uid, granted in rights.items():
        _, found = as_user(daemon, uid, calls)
        for verb, (code, facts) in zip(verbs, found, strict=True):
            if VERBS[verb] in granted:
                assert "needs the right" not in str(facts), (uid, verb)
            else:
                assert code == "denied", (uid, verb)
                assert f"needs the right `{VERBS[verb]}`" in facts["message"]
                assert facts["retryable"] is False


def test_a_reader_changes_nothing(guarded):
    daemon = guarded("ACCESS_WORK=0")
    number = daemon.call("submit", type="t", description="d")["id"]
    submit = ["submit", {"type": "t", "description": "d"}]
    _, found = as_user(
        daemon, ONE, [submit, ["batch", {"commands": [submit]}], ["show", {"id": number}], ["hello", {"version": 1}]]
    )
    assert [code for code, _ in found] == ["denied", "denied", 0, 0]
    assert found[3][1]["you"]["classes"] == ["read"]
    assert daemon.call("count", all=True) == {"count": 1}


def test_a_batch_needs_the_class_of_each_command(guarded):
    daemon = guarded()
    commands = [["queue_set", {"queue": "q", "closed": True}], ["submit", {"type": "t", "description": "d"}]]
    _, found = as_user(daemon, ONE, [["batch", {"commands": commands}]])
    ((code, batch),) = found
    assert code == 0
    assert [line[0] for line in batch["replies"]] == ["denied", 0]


def test_whom_the_kernel_cannot_name_is_nobody(guarded):
    """In a user namespace all strangers look like 65534; in its group may be anybody as well."""
    daemon = guarded(f"ACCESS_ADMIN=@{NOBODY}")
    calls = [["count", {}], ["submit", {"type": "t", "description": "d"}]]
    _, found = as_user(daemon, NOBODY, calls)
    assert [code for code, _ in found] == ["denied"] * 2
    _, found = as_user(daemon, ONE, [["pause", {"queue": "q"}], *calls], gid=NOBODY)
    assert [code for code, _ in found] == ["denied", 0, 0]


def test_groups(guarded):
    """The primary and the supplementary groups count, by number and by name."""
    name = next(group.gr_name for group in grp.getgrall() if group.gr_gid not in (0, NOBODY))
    known = grp.getgrnam(name).gr_gid
    daemon = guarded(f"ACCESS_WORK=@{name}", "ACCESS_ADMIN=@54400", "ACCESS_READ=")
    calls = [["count", {}], ["submit", {"type": "t", "description": "d"}], ["pause", {"queue": "q"}]]
    cases: list[tuple[int, list[int], list[object]]] = [
        (ONE, [], ["denied"] * 3),
        (known, [], [0, 0, "denied"]),
        (ONE, [known], [0, 0, "denied"]),
        (ONE, [known, 54400], [0, 0, 0]),
        (54400, [], [0, 0, 0]),
    ]
    for gid, groups, expected in cases:
        _, found = as_user(daemon, ONE, calls, gid, groups)
        assert [code for code, _ in found] == expected, (gid, groups)


def test_users_by_name(guarded):
    name = pwd.getpwuid(NOBODY).pw_name
    daemon = guarded(f"ACCESS_ADMIN={name}", "ACCESS_WORK=0")
    assert as_user(daemon, NOBODY, [["pause", {"all": True}]])[1][0][0] == 0
    assert as_user(daemon, ONE, [["pause", {"all": True}]])[1][0][0] == "denied"


@pytest.mark.parametrize("setting", ["ACCESS_READ=no-such-user-here", "ACCESS_ADMIN=@no-such-group-here"])
def test_names_that_nobody_has_are_refused_at_the_start(make_daemon, setting):
    daemon = make_daemon(setting)
    done = subprocess.run(
        daemon.command(),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=daemon.environment(),
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 78
    assert "ACCESS_" in done.stderr
    assert "no-such-" in done.stderr
    assert done.stderr.count("\n") == 1


def test_who_did_it_is_kept(guarded):
    daemon = guarded()
    pid, found = as_user(daemon, ONE, [["submit", {"type": "t", "description": "d", "agent": "me"}]])
    number = found[0][1]["id"]
    for _ in range(2):
        assert daemon.call("show", id=number)["submitted_by"] == {"uid": ONE, "pid": pid, "agent": "me"}
        daemon.restart()


def test_what_belongs_to_others_is_left_alone(guarded):
    """Another's item, claim and agent are out of reach; an admin may do it."""
    daemon = guarded(f"ACCESS_ADMIN={TWO}")
    _, found = as_user(
        daemon,
        ONE,
        [
            ["submit", {"type": "t", "description": "queued", "queue": "q"}],
            ["submit", {"type": "t", "description": "held"}],
            ["claim", {"agent": "mine"}],
        ],
    )
    queued, held = found[0][1]["id"], found[2][1]["items"][0]["id"]
    attempts = [
        ["cancel", {"id": queued}],
        ["edit", {"id": queued, "priority": "critical"}],
        ["cancel", {"id": held}],
        ["complete", {"id": held, "agent": "mine"}],
        ["release", {"id": held, "agent": "mine"}],
        ["fail", {"id": held, "agent": "mine"}],
        ["progress", {"id": held, "agent": "mine", "percent": 5}],
        ["claim", {"agent": "mine", "queue": ["q"]}],
        ["queue_set", {"queue": "q", "closed": True}],
        ["evict", {"agent": "mine"}],
    ]
    _, refused = as_user(daemon, STRANGER, attempts)
    assert [code for code, _ in refused] == ["denied"] * len(attempts), refused
    _, (seen,) = as_user(daemon, STRANGER, [["held", {"agent": "mine"}]])
    assert "token" not in seen[1]["items"][0]
    _, own = as_user(daemon, ONE, [["held", {"agent": "mine"}], ["heartbeat", {"agent": "mine"}]])
    token = own[0][1]["items"][0]["token"]
    assert list(own[1][1]["renewed"]) == [str(held)]
    _, nothing = as_user(daemon, STRANGER, [["heartbeat", {"agent": "mine"}]])
    assert nothing[0][0] == "denied", "nobody else speaks for it"
    assert as_user(daemon, TWO, [["cancel", {"id": queued}]])[1][0][0] == 0
    _, done = as_user(daemon, STRANGER, [["complete", {"id": held, "token": token}]])
    assert done[0][0] == 0  # holding the token is enough


def test_the_same_key_of_two_users_is_two_keys(guarded):
    daemon = guarded()
    call = [["submit", {"type": "t", "description": "d", "key": "k"}]]
    first = as_user(daemon, ONE, call * 2)[1]
    assert first[0] == first[1]
    assert as_user(daemon, TWO, call)[1][0][1]["id"] != first[0][1]["id"]


def test_the_socket_s_mode(make_daemon):
    daemon = make_daemon()
    daemon.directory.parent.chmod(0o755)
    daemon.directory.chmod(0o755)
    daemon.start()
    assert os.stat(daemon.socket).st_mode & 0o777 == 0o660
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, str(ROOT), daemon.socket, json.dumps([ONE, ONE, [], [["count", {}]]])],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "PermissionError" in done.stderr


SWARMCTL = """
import os, pkgutil, sys
sys.path.insert(0, sys.argv.pop(1))
uid = int(sys.argv.pop(1))
import swarmctl
from swarmctl.cli import main
for found in pkgutil.walk_packages(swarmctl.__path__, "swarmctl."):  # that user may not be able to read them
    if found.name not in ("swarmctl.__main__",):
        __import__(found.name)
os.setgroups([]); os.setgid(uid); os.setuid(uid)
sys.exit(main())
"""


def ctl_as(daemon: Daemon, uid: int, *words: str) -> subprocess.CompletedProcess[str]:
    """What swarmctl does when that user types it."""
    return subprocess.run(
        [sys.executable, "-c", SWARMCTL, str(ROOT), str(uid), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=daemon.environment(),
    )


OF_ADMINS = (("clear", "q", "--yes"), ("journal", "snapshot"), ("index", "rebuild"))


def test_what_only_admins_may_is_one_line_for_others_and_does_nothing(guarded):
    daemon = guarded(f"ACCESS_ADMIN={TWO}")
    for _ in range(3):
        daemon.call("submit", type="t", description="d", queue="q")
    position = daemon.call("status")["position"]
    for words in OF_ADMINS:
        denied = ctl_as(daemon, ONE, *words)
        assert (denied.returncode, denied.stdout) == (77, ""), words
        line = f": needs the right `admin`, which uid {ONE} has not; next: swarmctl config show ACCESS_ADMIN\n"
        assert denied.stderr.count("\n") == 1
        assert line in denied.stderr, denied.stderr
        told = json.loads(ctl_as(daemon, ONE, "--json", *words).stdout)
        assert (told["code"], told["exit"], told["retryable"]) == ("denied", 77, False)
    status = daemon.call("status")
    assert status["position"] == position
    assert status["states"]["ready"] == 3
    assert not list(daemon.state.glob("snapshot-*"))
    assert ctl_as(daemon, ONE, "cancel", "1").returncode == 77, "nor an item of somebody else"
    said = [ctl_as(daemon, TWO, *words) for words in OF_ADMINS]
    assert [done.returncode for done in said] == [0, 0, 0], said
    assert said[0].stdout == "q\t3\n"
    assert list(daemon.state.glob("snapshot-*"))
