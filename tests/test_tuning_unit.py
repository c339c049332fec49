"""swarmsh-tune.service: systemd finds nothing to say about it, and it may do little more than its work."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

UNIT = ROOT / "systemd/swarmsh-tune.service"

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture
def unit(tmp_path: Path) -> str:
    """The unit with a program that is there."""
    place = tmp_path / UNIT.name
    place.write_text(UNIT.read_text().replace("/usr/bin/swarmsh-tune", sys.executable))
    return str(place)


def test_systemd_has_nothing_to_say(unit: str) -> None:
    ran = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_its_exposure_is_at_most_1(unit: str) -> None:
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=10", unit]  # of 100
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-200:]
