"""The configuration file, changed by a line: what else is in it stays, byte for byte."""

import os
import stat
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmctl.cli import Failure
from swarmctl.settings_file import SettingsFile, changed

PLAIN = """\
# swarmshd.toml  lease = 1
  lease = "7m"   # why: 'a "long" build' # yes

batch_size=5
access_work = [
  "ann",  # she
  "@ops",
] # who works
"queues" = 9\r
message = '''
lease = "no"
'''
"""


def test_a_line_is_changed_in_its_place():
    text = changed(PLAIN, "lease", "lease = 90")
    assert text == PLAIN.replace('  lease = "7m"   #', "  lease = 90   #")
    text = changed(PLAIN, "batch_size", "batch_size = 6")
    assert text == PLAIN.replace("batch_size=5\n", "batch_size = 6\n")
    text = changed(PLAIN, "queues", "queues = 8")
    assert text == PLAIN.replace('"queues" = 9\r\n', "queues = 8\r\n")
    text = changed(PLAIN, "access_work", 'access_work = ["bob"]')
    assert text == PLAIN.replace('[\n  "ann",  # she\n  "@ops",\n] # who', '["bob"] # who')


def test_a_line_is_added_at_the_end():
    assert changed("", "lease", "lease = 90") == "lease = 90\n"
    assert changed("# no end", "lease", "lease = 90") == "# no end\nlease = 90\n"
    assert changed(PLAIN, "agents", "agents = 1") == PLAIN + "agents = 1\n"


def test_what_is_so_already_stays_as_it_is_written():
    assert changed("lease  =  0x5a\n", "lease", "lease = 90") == "lease  =  0x5a\n"


def test_the_same_words_in_a_text_are_left_alone():
    text = 'a = """\nlease = 1\n"""\nlease = 1\n'
    assert changed(text, "lease", "lease = 2") == 'a = """\nlease = 1\n"""\nlease = 2\n'


def test_a_key_in_disguise_is_not_guessed():
    with pytest.raises(Failure, match="cannot find the line of lease"):
        changed('"l\\u0065ase" = 1\n', "lease", "lease = 2")


keys = st.sampled_from(["lease", "agents", "queues"])
values = st.one_of(
    st.integers(0, 99), st.text("ab#\"'= ", max_size=6), st.lists(st.sampled_from(["x", "#"]), max_size=2)
)
lines = st.one_of(
    st.tuples(st.just(""), st.text("ab#= ", max_size=8)),
    st.tuples(keys, values),
)


def shown(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(f'"{each}"' for each in value) + "]"
    return '"' + value.replace('"', '\\"') + '"' if isinstance(value, str) else repr(value)


@given(st.lists(lines, max_size=6, unique_by=str), keys, values)
def test_the_rest_of_any_file_stays(written, key, value):
    once = {name: what for name, what in written if name}
    comments = "".join(f"#{what}\n" for name, what in written if not name)
    text = comments + "".join(f"{name} = {shown(what)} # {name}\n" for name, what in once.items())
    after = changed(text, key, f"{key} = {shown(value)}")
    assert tomllib.loads(after) == {**tomllib.loads(text), key: value}
    others = [line for line in text.splitlines() if not line.startswith(f"{key} =")]
    assert [line for line in after.splitlines() if not line.startswith(f"{key} =")] == others
    assert all(f"# {name}" in after for name in once)


def test_the_file_is_replaced_with_its_owner_and_mode_and_put_back(tmp_path):
    path = tmp_path / "swarmshd.toml"
    path.write_text("lease = 1 # x\n")
    path.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(path)
    inode = path.stat().st_ino
    file = SettingsFile(str(link))
    file.change({"lease": "lease = 2", "agents": "agents = 3"})
    assert path.read_text() == "lease = 2 # x\nagents = 3\n"
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_ino != inode
    file.put_back()
    assert path.read_text() == "lease = 1 # x\n"
    assert sorted(os.listdir(tmp_path)) == ["link", "swarmshd.toml"]


def test_a_file_that_was_not_there(tmp_path):
    path = tmp_path / "etc" / "swarmshd.toml"
    file = SettingsFile(str(path))
    file.change({"lease": "lease = 2"})
    assert path.read_text() == "lease = 2\n"
    file.put_back()
    assert not path.exists()


def test_what_is_no_settings_file_is_left_alone(tmp_path):
    path = tmp_path / "swarmshd.toml"
    for data in (b"lease = \n", b"# \xff\n"):
        path.write_bytes(data)
        with pytest.raises(Failure) as failed:
            SettingsFile(str(path)).change({"lease": "lease = 2"})
        assert failed.value.status == 78
        assert path.read_bytes() == data
    with pytest.raises(Failure, match=r"cannot read .*: Is a directory; nothing was changed"):
        SettingsFile(str(tmp_path)).change({"lease": "lease = 2"})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else for a moment")
def test_without_permission_it_is_77_and_nothing_changes(tmp_path):
    path = tmp_path / "swarmshd.toml"
    path.write_text("lease = 1\n")
    path.chmod(0o644)
    tmp_path.chmod(0o755)
    for above in tmp_path.parents[:-2]:
        if above.owner() == "root":
            above.chmod(above.stat().st_mode | 0o011)
    os.seteuid(65534)
    try:
        with pytest.raises(Failure) as failed:
            SettingsFile(str(path)).change({"lease": "lease = 2"})
    finally:
        os.seteuid(0)
    assert (failed.value.status, failed.value.code) == (77, "denied")
    assert path.read_text() == "lease = 1\n"
    assert os.listdir(tmp_path) == ["swarmshd.toml"]
