"""The Debian package: built as a packager does, then installed, used, upgraded, removed and purged on a machine."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.machine import SYSTEM_PYTHON, Machine, why_not


def _why_not() -> str:
    if shutil.which("dpkg-deb") is None:
        return "dpkg-deb is not installed"
    asked = [str(SYSTEM_PYTHON), "-c", "import ensurepip"]
    if subprocess.run(asked, capture_output=True, check=False).returncode:
        return f"{SYSTEM_PYTHON} cannot make virtual environments (python3-venv)"
    return why_not()


pytestmark = [pytest.mark.real, pytest.mark.xdist_group("package")]  # it is built once


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """The built package."""
    if why := _why_not():
        pytest.skip(why)
    out = tmp_path_factory.mktemp("deb")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(ROOT / "contrib/debian/build"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def machine(tmp_path_factory, package: Path) -> Iterator[Machine]:
    """A machine on which nothing of ours is installed, with the package in /root."""
    made = Machine(tmp_path_factory.mktemp("debian") / "root", f"swarmsh-deb-{os.getpid()}", bare=True)
    try:
        made.make()
        shutil.copy(package, made.root / "root/swarmsh.deb")
        made.boot()
        yield made
    finally:
        made.stop()


def left(machine: Machine) -> set[str]:
    """What there is of ours."""
    found: set[str] = set()
    for place in ("/etc", "/usr", "/var"):
        found.update(machine.run("find", place, "-name", "*swarm*").stdout.splitlines())
    return found


def test_the_package_names_no_place_where_it_was_built(package, tmp_path):
    subprocess.run(["dpkg-deb", "-x", str(package), str(tmp_path)], check=True)
    found = subprocess.run(
        ["grep", "-rlE", "/tmp/tmp|" + str(ROOT), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert found.stdout == ""
    assert (tmp_path / "usr/bin/swarmctl").is_symlink()


def test_from_installing_to_purging(machine):
    """One after the other, as each needs what came before."""
    before = left(machine)
    machine.run("dpkg", "-i", "/root/swarmsh.deb")
    assert machine.show("swarmshd.service", "ActiveState") == "active", "it runs at once"
    assert machine.show("swarmshd.service", "UnitFileState") == "enabled"
    made = machine.run("swarmctl", "submit", "t", "kept over everything").stdout.strip()
    status = json.loads(machine.run("swarmctl", "--json", "status").stdout)
    assert status["state_dir"] == "/var/lib/swarmsh"

    machine.run("dpkg", "-i", "/root/swarmsh.deb")
    again = json.loads(machine.run("swarmctl", "--json", "status").stdout)
    assert again["pid"] != status["pid"], "an upgrade restarts it"
    machine.run("swarmctl", "show", made)

    machine.run("dpkg", "--remove", "swarmsh")
    assert machine.show("swarmshd.service", "ActiveState") == "inactive"
    machine.run("dpkg", "-i", "/root/swarmsh.deb")
    machine.run("swarmctl", "show", made)

    done = machine.run("dpkg", "--purge", "swarmsh")
    assert "the queue is kept in /var/lib/swarmsh" in done.stderr
    assert left(machine) - before == {"/var/lib/swarmsh"}
    assert not machine.run("systemctl", "list-unit-files", "swarmsh*", check=False).stdout.count(".service")
