"""What else the settings of a running daemon may be: chosen, taken back, read again, written down."""

import pytest

from swarmshd.configuration import ConfigError, Configuration, Excluded, known
from swarmshd.settings import HOUR, MINUTE, TABLE


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "swarmshd.toml"
    file.write_text('lease = "2m"\n')
    return file


def made(file, *options: str, **environ: str) -> Configuration:
    return Configuration(str(file), environ, options)


def refused(call, *arguments) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message.isprintable()
    return message


def test_what_is_chosen_goes_before_everything_and_can_be_taken_back(file):
    for configuration in (made(file), made(file, "LEASE=3m"), made(file, SWARMSH_LEASE="4m")):
        before = configuration.settings
        configuration.adopt(configuration.choosing({"LEASE": "5m", "MAX_ATTEMPTS": "7"}))
        settings = configuration.settings
        assert (settings.lease, settings.source("LEASE"), settings.max_attempts) == (5 * MINUTE, "set", 7)
        assert before.lease != settings.lease
        configuration.adopt(configuration.reading_again())
        assert configuration.settings.lease == 5 * MINUTE
        configuration.adopt(configuration.taking_back(["LEASE"]))
        assert configuration.settings.lease == before.lease
        assert configuration.settings.source("LEASE") == before.source("LEASE")
        assert configuration.settings.max_attempts == 7
        message = refused(configuration.taking_back, ["MAX_ATTEMPTS", "LEASE"])
        assert message == f"LEASE was not set while the daemon ran; it comes from {before.source('LEASE')}"
        assert configuration.settings.max_attempts == 7


def test_a_proposal_that_is_not_adopted_changes_nothing(file):
    configuration = made(file)
    assert configuration.choosing({"LEASE": "5m"}).settings.lease == 5 * MINUTE
    file.write_text('lease = "9m"\n')
    assert configuration.reading_again().settings.lease == 9 * MINUTE
    assert configuration.settings.lease == 2 * MINUTE


def test_what_cannot_be_chosen(file):
    configuration = made(file)
    assert refused(configuration.choosing, {"LEASE": "soon"}).startswith("LEASE: 'soon' is not a duration")
    with pytest.raises(Excluded, match=r"FRAME_MAX is read at a start only: add --persist, and restart"):
        configuration.choosing({"MAX_ATTEMPTS": "7", "FRAME_MAX": "2M"})
    with pytest.raises(Excluded, match=r"LEASE \(25h\) is more than LEASE_MAX \(1d\)"):
        configuration.choosing({"LEASE": "25h"})
    assert configuration.choosing({"LEASE": "25h", "LEASE_MAX": "2d"}).settings.lease == 25 * HOUR


def test_a_bad_file_keeps_what_is_in_force(file):
    configuration = made(file)
    settings = configuration.settings
    for text, says in (
        ("lease = 5\nleese = 6\n", f"{file}:2: no setting is called 'leese'; did you mean lease?"),
        ("\nlease = 2.5\n", f"{file}:2: lease: 2.5 is not a duration"),
        ('lease = "5 min"\n', f"{file}:1: lease: '5 min' is not a duration"),
        ("lease = 5\nlease = 6\n", f"{file}:2: this key was given before"),
        ("lease = 5\n[limits]\nagents = 1\n[limits]\nqueues = 1\n", f"{file}:4: the table limits was given before"),
        (
            "lease = 5\n[limits]\nagents = 1\n",
            f"{file}:2: 'limits' is a table; write each setting as a line of its own",
        ),
        ("limits.agents = 1\n", f"{file}:1: 'limits' is a table"),
        ("[[lease]]\n", f"{file}:1: lease: [{{}}] is not a duration"),
        ("lease = 5\nlease.max = 6\n", f"{file}:2: "),
    ):
        file.write_text(text)
        assert refused(configuration.reading_again).startswith(says)
    file.unlink()
    assert refused(configuration.reading_again) == (
        f"{file}: cannot be read: No such file or directory; name another file with --config"
    )
    assert configuration.settings is settings


def test_a_file_that_excludes_what_was_chosen_is_refused_with_its_line(file):
    configuration = made(file)
    configuration.adopt(configuration.choosing({"LEASE": "2h"}))
    file.write_text('\nlease_max = "1h"\n')
    assert refused(configuration.reading_again).startswith(f"{file}:2: LEASE (2h) is more than LEASE_MAX (1h)")


def test_what_a_start_alone_reads_waits_for_one(file):
    configuration = made(file)
    file.write_text('lease = "3m"\nframe_max = "2M"\n')
    configuration.adopt(configuration.reading_again())
    assert configuration.settings.lease == 3 * MINUTE
    assert configuration.settings.source("FRAME_MAX") == "default"
    waiting = [name for name in TABLE if configuration.settings.value(name) != configuration.coming.value(name)]
    assert waiting == ["FRAME_MAX"]
    assert configuration.coming.source("FRAME_MAX") == f"{file}:2"
    assert made(file).settings.frame_max == 2 << 20


def test_what_fits_a_waiting_value_only_waits_with_it(file):
    configuration = made(file)
    file.write_text('payload_max = "1M"\nframe_max = "2M"\nlease = "3m"\n')
    configuration.adopt(configuration.reading_again())
    waiting = [name for name in TABLE if configuration.settings.value(name) != configuration.coming.value(name)]
    assert waiting == ["PAYLOAD_MAX", "FRAME_MAX"]
    assert configuration.settings.lease == 3 * MINUTE
    with pytest.raises(Excluded, match=r"FRAME_MAX \(1M\) has no room for PAYLOAD_MAX \(1M\)"):
        configuration.choosing({"PAYLOAD_MAX": "1M"})


def test_what_may_be_written_into_the_file(file):
    configuration = made(file, "QUEUES=5", SWARMSH_AGENTS="6", BATCH_SIZE="7")
    names = ["lease", "FRAME_MAX", "require-token", "ACCESS_WORK", "MAX_ATTEMPTS", "SOCKET_MODE"]
    values = ["10m", "2M", "yes", "@ops, ann", "7", "600"]
    lines = configuration.writing({known(name): value for name, value in zip(names, values, strict=True)})
    assert list(lines.values()) == [
        'lease = "10m"',
        'frame_max = "2M"',
        "require_token = true",
        'access_work = ["@ops", "ann"]',
        "max_attempts = 7",
        'socket_mode = "0600"',
    ]
    file.write_text("\n".join(lines.values()))
    settings = made(file).settings
    assert (settings.lease, settings.access_work) == (10 * MINUTE, ("@ops", "ann"))
    for name, place in (("QUEUES", "--set"), ("AGENTS", "SWARMSH_AGENTS"), ("BATCH_SIZE", "BATCH_SIZE")):
        message = refused(configuration.writing, {name: "9"})
        assert message == f"{name} comes from {place}, which goes before the file: change it there"
    assert "is more than LEASE_MAX" in refused(configuration.writing, {"LEASE": "25h"})
    file.write_text("lease = 1\nx = 1\n")
    assert refused(configuration.writing, {"LEASE": "1h"}).startswith(f"{file}:2: no setting is called 'x'")


def test_every_value_is_written_as_it_is_read(file):
    for row in TABLE.values():
        file.write_text(f"{row.key} = {row.write(row.default)}\n")
        assert made(file).settings.value(row.name) == row.default, row.name


def test_the_names_that_people_type():
    assert [known(name) for name in ("LEASE", " lease ", "retain-done", "SWARMSH_LEASE")] == [
        "LEASE",
        "LEASE",
        "RETAIN_DONE",
        "LEASE",
    ]
    assert refused(known, "leese") == "no setting is called 'leese'; did you mean LEASE?"
    assert refused(known, "zzzzqqqq") == "no setting is called 'zzzzqqqq'; `swarmctl config show` lists them"


def test_the_default_file_need_not_be_there(tmp_path, monkeypatch):
    monkeypatch.setattr("swarmshd.configuration.DEFAULT_FILE", str(tmp_path / "etc" / "swarmshd.toml"))
    configuration = Configuration(None, {}, [])
    assert configuration.file == str(tmp_path / "etc" / "swarmshd.toml")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "swarmshd.toml").write_text("lease = 60\n")
    assert configuration.reading_again().settings.lease == MINUTE


def test_a_bare_name_that_excludes_another_stays_skipped(file):
    file.write_text("")
    configuration = made(file, BATCH_SIZE="none")
    assert len(configuration.settings.warnings) == 1
    configuration.adopt(configuration.choosing({"BATCH_SIZE": "9"}))
    assert configuration.settings.batch_size == 9
