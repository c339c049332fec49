"""The table of settings, and what is made of the file, the environment and the command line."""

import ast
import subprocess
import sys
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmshd import configuration, settings
from swarmshd.configuration import ConfigError, read_environment, read_file, read_option, resolve
from swarmshd.settings import HOUR, KIB, MIB, TABLE, Count, Duration, Size
from tests.source import ROOT, nodes, trees

EXAMPLE = """\
# swarmshd.toml
batch_size = 500
lease = "5m"
lease_max = 7200

journal_rotation_mb = 10
payload_max = "32K"
require_token = true
access_work = ["*"]
access_admin = ["ann", 1000, "@ops"]
log_level = "debug"
socket_mode = "0600"
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes) -> str:
        path = tmp_path / "swarmshd.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def refused(read, *arguments) -> str:
    with pytest.raises(ConfigError) as caught:
        read(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert message.isprintable()
    return message


def test_values_have_the_programs_unit(write):
    found = resolve(write(EXAMPLE), {}, [])
    assert found.batch_size == 500
    assert found.lease == 300_000
    assert found.lease_max == 2 * HOUR
    assert found.journal_rotation_bytes == 10 * MIB
    assert found.payload_max == 32 * KIB
    assert found.require_token is True
    assert found.access_admin == ("ann", "1000", "@ops")
    assert found.socket_mode == 0o600
    assert found.warnings == ()


def test_every_default_is_allowed_and_reads_back():
    for row in TABLE.values():
        assert row.parse(row.show(row.default)) == row.default, row.name
        assert row.meaning
        assert row.meaning[-1] != "."


def test_names_units_and_attributes_agree():
    assert len(TABLE) == len({row.key for row in TABLE.values()})
    for row in TABLE.values():
        assert row.name == row.key.upper()
        if isinstance(row, Size):
            assert row.unit == ("MiB" if row.name.endswith("_MB") else "bytes")
            assert row.attribute.endswith("_bytes") == row.name.endswith("_MB")
        if isinstance(row, Duration):
            assert row.unit in ("ms", "s")
            assert not row.name.endswith("_MS") or row.unit == "ms"
        if isinstance(row, Count):
            assert row.bounded(row.parse(row.show(row.default))) == row.default
            assert row.unit or row.name.endswith("_MULTIPLIER")


@given(st.data())
def test_what_is_shown_is_read_as_the_same(data):
    row = data.draw(st.sampled_from([row for row in TABLE.values() if isinstance(row, Count)]))
    # people write sizes in MiB as whole numbers of bytes only with a unit that divides them
    step = KIB if row.unit == "MiB" else 1000 if row.unit == "s" else 1
    value = data.draw(st.integers(-(-row.low // step), row.high // step)) * step
    assert row.parse(row.show(value)) == value


@given(st.text())
def test_any_text_is_a_value_or_a_value_error(text):
    for row in TABLE.values():
        try:
            value = row.parse(text)
        except ValueError as error:
            wrong = str(error)
        else:
            wrong = "one line"
            assert row.parse(row.show(value)) == value
        assert wrong.isprintable()


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("90", 90_000), ("90s", 90_000), ("1500ms", 1500), ("5m", 300_000), ("2h", 2 * HOUR), (" 1d ", 24 * HOUR)],
)
def test_durations(text, milliseconds):
    assert TABLE["LEASE"].parse(text) == milliseconds


@pytest.mark.parametrize("text", ["", "5 m", "m", "5x", "1.5h", "1e3", "0x10", "٣", "5mm", "--5", "1_000", "9" * 30])
def test_bad_durations(text):
    with pytest.raises(ValueError, match="is not a duration such as"):
        TABLE["LEASE"].parse(text)


@pytest.mark.parametrize(("text", "size"), [("100", 100 * MIB), ("100M", 100 * MIB), ("2G", 2048 * MIB)])
def test_sizes_in_mebibytes(text, size):
    assert TABLE["JOURNAL_ROTATION_MB"].parse(text) == size


def test_the_order_of_places(write):
    file = write("batch_size = 1\nqueues = 7\nagents = 8\n")
    environ = {"BATCH_SIZE": "2", "SWARMSH_BATCH_SIZE": "3", "SWARMSH_QUEUES": "9", "LOG_LEVEL": "trace"}
    found = resolve(file, environ, ["BATCH_SIZE=4", "batch-size=5"])
    assert (found.batch_size, found.source("BATCH_SIZE")) == (5, "--set")
    found = resolve(file, environ, [])
    assert (found.batch_size, found.source("BATCH_SIZE")) == (3, "SWARMSH_BATCH_SIZE")
    assert (found.queues, found.source("QUEUES")) == (9, "SWARMSH_QUEUES")
    assert (found.log_level, found.source("LOG_LEVEL")) == ("trace", "LOG_LEVEL")
    del environ["SWARMSH_BATCH_SIZE"]
    found = resolve(file, environ, [])
    assert (found.batch_size, found.source("BATCH_SIZE")) == (2, "BATCH_SIZE")
    found = resolve(file, {}, [])
    assert (found.batch_size, found.source("BATCH_SIZE")) == (1, f"{file}:1")
    assert (found.agents, found.source("AGENTS")) == (8, f"{file}:3")
    assert found.source("LEASE") == "default"


def test_bare_names_that_are_not_the_guides_belong_to_others():
    assert resolve(None, {"QUEUES": "high,low", "LEASE": "7"}, []).queues == settings.defaults().queues


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("leese = 5\n", 1, "no setting is called 'leese'; did you mean lease?"),
        ("\n\nLEASE = 5\n", 3, "no setting is called 'LEASE'; did you mean lease?"),
        ("batch_size = 1\nzzzzqqqq = 2\n", 2, "no setting is called 'zzzzqqqq'; remove it"),
        ("batch_size = '500'\n", 1, "batch_size: '500' is text; write a whole number, without quotes"),
        ("batch_size = 5.0\n", 1, "batch_size: 5.0 is not a whole number"),
        ("batch_size = true\n", 1, "batch_size: True is not a whole number"),
        ("batch_size = 0\n", 1, "batch_size: 0 is out of range; write 1 to 100000"),
        ("lease = -5\n", 1, "lease: -5s is out of range; write 1s to 30d"),
        ("# x\nlease = 1979-05-27\n", 2, "lease: datetime.date(1979, 5, 27) is not a duration"),
        ("lease = '5 minutes'\n", 1, "lease: '5 minutes' is not a duration such as 90, 30s, 5m, 2h or 1d"),
        ("require_token = 'yes'\n", 1, "require_token: 'yes' is text; write true or false, without quotes"),
        ("require_token = 2\n", 1, "require_token: 2 is not true or false"),
        ("log_level = 'loud'\n", 1, "log_level: 'loud' is not one of trace, debug, info, warning, error"),
        ("socket_mode = 660\n", 1, 'socket_mode: 660 is not octal permissions from "0600" to "0777", as text'),
        ("socket_mode = '0060'\n", 1, "socket_mode: '0060' is not octal"),
        ("access_work = [\n 'ann',\n 'b/c',\n]\n", 1, "access_work: 'b/c' is not a user name, uid, @group or *"),
        ("access_work = ['@']\n", 1, "access_work: '@' is not"),
        ("access_work = [true]\n", 1, "access_work: True is not"),
        ("batch_size = 1\n[limits]\nqueues = 1\n", 2, "'limits' is a table; write each setting as a line of its own"),
        ("batch_size = 1\nbatch_size = 2\n", 2, "this key was given before; keep one of the lines"),
        ("batch_size = 1\nlease 5\n", 2, "not TOML: Expected '=' after a key in a key/value pair; write 'lease 5' as"),
        ("batch_size = 1\nlease = \n", 2, "not TOML: Invalid value"),
        ("batch_size = 1\naccess_work = [", 2, "not TOML"),
        (b"batch_size = 1\n# \xff\n", 2, "not UTF-8; save the file as UTF-8"),
        (b"batch_size = 1\nlog_level = '\0'\n", 2, "not TOML: Found invalid character"),
        ("lease = '2h'\nlease_max = '1h'\n", 1, "LEASE (2h) is more than LEASE_MAX (1h); change one of them"),
        ("backoff_max = 1\n", 1, "BACKOFF_BASE (15s) is more than BACKOFF_MAX (1s)"),
        ("\npayload_max = '1M'\n", 2, "FRAME_MAX (1M) has no room for PAYLOAD_MAX (1M), CHECKPOINT_MAX (4K), DESC"),
        ("output_tail = '1M'\n", 1, "FRAME_MAX (1M) has no room for OUTPUT_TAIL (1M); change one of them"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(write, text, line, says):
    file = write(text)
    message = refused(resolve, file, {}, [])
    assert message.startswith(f"{file}:{line}: {says}")


def test_a_file_that_cannot_be_read(tmp_path, write):
    missing = str(tmp_path / "missing.toml")
    assert refused(read_file, missing) == (
        f"{missing}: cannot be read: No such file or directory; name another file with --config"
    )
    assert "Is a directory" in refused(read_file, str(tmp_path))
    assert "larger than 1024 KiB" in refused(read_file, write(b"#" * (configuration.FILE_MAX + 1)))


def test_a_quoted_key_has_its_line(write):
    assert ":2: no setting is called 'a b'" in refused(read_file, write('batch_size = 1\n"a b" = 1\n'))


@given(st.text(max_size=60))
def test_every_fault_and_key_has_a_line(text):
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        wrong = str(configuration._syntax("file", text, str(error)))
        assert wrong.startswith("file:")
        assert "\n" not in wrong
    else:
        assert all(configuration._line(text, key) <= text.count("\n") + 1 for key in document)


def test_a_bad_value_under_our_prefix_is_refused():
    message = refused(read_environment, {"SWARMSH_LEASE": "soon"})
    assert message == "SWARMSH_LEASE in the environment: 'soon' is not a duration such as 90, 30s, 5m, 2h or 1d"


def test_a_bad_value_under_a_bare_name_is_skipped_with_a_warning():
    found = resolve(None, {"LOG_LEVEL": "chatty", "BATCH_SIZE": "600"}, [])
    assert found.log_level == "info"
    assert found.batch_size == 600
    assert found.warnings == (
        "LOG_LEVEL in the environment: 'chatty' is not one of trace, debug, info, warning, error; ignoring it",
    )


def test_a_misspelt_name_under_our_prefix_is_told():
    found, warnings = read_environment({"SWARMSH_LEESE": "5", "SWARMSH_AGENT": "a", "SWARMSH_SOCKET": "/s"})
    assert found == {}
    assert warnings == [
        "SWARMSH_LEESE in the environment: no setting is called 'LEESE'; did you mean SWARMSH_LEASE?; ignoring it"
    ]


def test_no_setting_is_called_as_a_variable_of_the_client():
    assert TABLE.keys().isdisjoint(configuration.NOT_SETTINGS)


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("LEASE", "--set 'LEASE': no value; write --set NAME=VALUE"),
        ("LEESE=1", "--set 'LEESE=1': no setting is called 'LEESE'; did you mean LEASE?"),
        ("LEASE=", "--set LEASE: '' is not a duration such as 90, 30s, 5m, 2h or 1d"),
        ("BATCH_SIZE=x\ny", "--set BATCH_SIZE: 'x\\ny' is not a whole number"),
    ],
)
def test_a_bad_option_is_refused(option, says):
    assert refused(read_option, option) == says


def test_settings_do_not_change():
    found = settings.defaults()
    with pytest.raises(AttributeError, match="Settings do not change"):
        setattr(found, "lease", 5)  # noqa: B010  # mypy would not let it be written plainly
    with pytest.raises(KeyError):
        found.value("LEESE")
    assert repr(resolve(None, {}, ["LEASE=2m"])) == "Settings(LEASE=2m)"


def test_describe_has_a_row_for_each_setting():
    rows = settings.describe(resolve(None, {}, ["LEASE=2m"]))
    assert [row["name"] for row in rows] == list(TABLE)
    (lease,) = [row for row in rows if row["name"] == "LEASE"]
    assert lease == {
        "name": "LEASE",
        "key": "lease",
        "value": "2m",
        "default": "5m",
        "unit": "s",
        "allowed": "1s to 30d",
        "meaning": "how long a claim lasts without a sign of its holder",
        "source": "--set",
        "live": True,
    }


def test_every_setting_is_read_by_something():
    read: set[str] = set()
    for path in trees():
        if path.is_relative_to(ROOT / "swarmshd") and path.stem not in ("settings", "configuration"):
            read.update(node.attr for node in nodes(path) if isinstance(node, ast.Attribute))
    client = "".join(path.read_text() for path in (ROOT / "swarmctl").rglob("*.py"))
    unread = {row.attribute: row.name for row in TABLE.values() if row.attribute not in read}
    assert unread == {"parallel_jobs": "PARALLEL_JOBS"}  # the client asks for it
    assert all(name in client for name in unread.values())


def test_the_table_is_light_to_import():
    heavy = {"typing", "re", "dataclasses", "tomllib", "difflib", "collections", "enum", "attr", "trio"}
    program = f"import sys; import swarmshd.settings; print(*({heavy!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.split() == []
