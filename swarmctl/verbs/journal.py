"""What is typed about the journal, its snapshots, its archive and its backups."""

from __future__ import annotations

from swarmctl.options import DAEMON, STATE_DIR, Option, Verb

VERBS = (
    Verb(
        "journal list",
        "",
        (STATE_DIR,),
        wire="journal",
        run="swarmctl.journaling:list_files",
        group=DAEMON,
        meaning="the journal's files: kind, file, bytes, positions, epoch",
        example="swarmctl journal list",
    ),
    Verb(
        "journal check",
        "",
        (
            STATE_DIR,
            Option("--deep", "flag", "", "make the newest snapshot anew from the one before it, and compare"),
            Option("--digest", "flag", "", "compare with the state that the daemon has at that position"),
            Option("--no-measure", "flag", "", "do not measure the disk"),
        ),
        wire="journal",
        run="swarmctl.journaling:check",
        group=DAEMON,
        meaning="verify every byte, replay it, and measure append, sync and read",
        example="swarmctl journal check --digest",
        note="A line for each damage: what, file, offset, bytes, positions, why. Status 78 if there is any that "
        "matters; what a snapshot covers does not. The digest is the same for the same state.",
    ),
    Verb(
        "journal dump",
        "",
        (
            STATE_DIR,
            Option("--since", "number", "POSITION", "only what happened after it"),
            Option("--id", "number", "ID", "only what happened to this item"),
        ),
        wire="journal",
        run="swarmctl.journaling:dump",
        group=DAEMON,
        meaning="every event that is left, one JSON object a line",
        example="swarmctl journal dump --id 42",
    ),
    Verb(
        "journal repair",
        "",
        (STATE_DIR, Option("--to", "path", "DIR", "an empty directory, or one that is not there yet")),
        wire="",
        run="swarmctl.journaling:repair",
        group=DAEMON,
        meaning="make a sound journal of what is sound of a damaged one, and say what is lost",
        example="swarmctl journal repair --state-dir /var/lib/swarmsh --to /var/lib/swarmsh.new",
        note="The damaged directory is only read. Nothing is lost if the archive holds what is damaged elsewhere. "
        "Lines say which positions are lost, which items nobody knows any more, and of which something was assumed.",
    ),
    Verb(
        "journal archive",
        "",
        (
            STATE_DIR,
            Option("--all", "flag", "", "compress all that is archived, whatever its age"),
            Option("--prune", "duration", "D", "remove now what is older than that"),
            Option("--dry-run", "flag", "", "only say what would be done"),
        ),
        wire="journal",
        run="swarmctl.journaling:archive",
        group=DAEMON,
        meaning="compress what is old enough, remove what is too old or too much",
        example="swarmctl journal archive --dry-run",
    ),
    Verb(
        "journal upgrade",
        "",
        (STATE_DIR,),
        wire="journal",
        run="swarmctl.journaling:upgrade",
        group=DAEMON,
        meaning="have the newest journal format written: format, rows, what this program writes, what is to do",
        example="swarmctl journal upgrade",
        note="A program goes on in the format that a journal has until this is said, so that the release before it can "
        "read what it leaves. There is one format yet, and so nothing to do. Status 78 for a file of a later program.",
    ),
    Verb(
        "journal snapshot",
        "",
        (),
        wire="snapshot",
        run="swarmctl.upkeep:snapshot",
        group=DAEMON,
        meaning="have a snapshot made now: position, bytes, seconds",
        example="swarmctl journal snapshot",
        note="It covers all that is there when it is asked for, and is read back before it counts. The daemon goes on "
        "meanwhile. Who asks while one is made waits for it; an interrupt does not end it.",
    ),
    Verb(
        "journal reindex",
        "",
        (),
        wire="reindex",
        run="swarmctl.upkeep:reindex",
        group=DAEMON,
        meaning="go through the indexes: items, how many entries differed, seconds",
        example="swarmctl journal reindex",
        note="Every index in memory is derived from the items once more and compared; what differs is put right, and "
        "said on standard error. Nothing should. The daemon serves in between.",
    ),
    Verb(
        "backup",
        "FILE|-",
        (STATE_DIR, Option("--verify", "flag", "", "read the file instead, and say whether it can be restored")),
        wire="journal",
        run="swarmctl.journaling:backup",
        group=DAEMON,
        meaning="write everything into a file; `swarmshd --restore FILE` makes a daemon of it",
        example="swarmctl backup /backup/queue-$(date +%F)",
        note="It is consistent while the daemon works, and written by this program as whoever calls it. The file gets "
        "its name when it is whole and on the disk.",
    ),
)
