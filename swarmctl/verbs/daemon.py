"""What is typed to see how the daemon is, to change its settings, and to take items elsewhere and bring them in."""

from __future__ import annotations

from swarmctl.options import DAEMON, EVERY, IN_QUEUE, OF_GROUP, ROWS, STATES, TEAMS, TYPES, Option, Verb

VERBS = (
    Verb(
        "export",
        "",
        (
            STATES,
            IN_QUEUE,
            TYPES,
            TEAMS,
            OF_GROUP,
            Option("-o --to", "path", "FILE", "write to FILE, which is replaced when all is written (stdout)"),
            Option("--legacy", "path", "DIR", "write the old system's files into DIR instead"),
            Option("--force", "flag", "", "with --legacy: replace files that export did not write"),
        ),
        wire="export",
        run="swarmctl.moving.exporting:export",
        group=DAEMON,
        meaning="everything but leases, as JSON lines",
        example="swarmctl export -o queue.jsonl",
        note="Items of every state, agents, and the settings of queues; with a choice, only such items and such "
        "queues. The first line says what follows, the last one counts it. `import` takes it, elsewhere or here. It "
        "is read page by page: what changes meanwhile may be in either form.",
    ),
    Verb(
        "import",
        "PATH…",
        (
            Option("--dry-run", "flag", "", "only say what would come in"),
            Option("--claimed", "claimed", "WHAT", "what is held there: hold, ready or keep (hold)"),
        ),
        wire="import",
        run="swarmctl.moving.importing:import_files",
        group=DAEMON,
        meaning="take in what export wrote, or the old system's files",
        example="swarmctl import --dry-run agent_coordination",
        note="A PATH is a file or a directory, - what `export` writes on standard input. "
        "What is held there comes in blocked, until `kick` sets it free; with "
        "ready it may be claimed at once, with keep its agent holds it here as well (`claim --resume` gives it the "
        "token). The same files again change nothing. Status 1: something was refused or damaged.",
    ),
    Verb(
        "status",
        "",
        (),
        wire="status",
        run="swarmctl.looking:status",
        group=DAEMON,
        meaning="the daemon, its queue and its journal",
        example="swarmctl status",
    ),
    Verb(
        "dashboard",
        "",
        (Option("--live", "flag", "", "again and again, as `top` does"), EVERY, ROWS),
        wire="dashboard",
        run="swarmctl.views.live:dashboard",
        group=DAEMON,
        meaning="the whole on one screen: queues, agents, rates, failures, journal, disk",
        example="swarmctl dashboard",
    ),
    Verb(
        "top",
        "",
        (EVERY, ROWS),
        wire="dashboard",
        run="swarmctl.views.live:top",
        group=DAEMON,
        meaning="a dashboard that stays; into a log, one after another",
        example="swarmctl top --every 5s",
        note="On a terminal q ends it and leaves the screen as it was; the blank looks again at once. Elsewhere it "
        "prints a screen each time, or with --json an object, until it is interrupted.",
    ),
    Verb(
        "stats",
        "[SECTION]",
        (Option("--watch", "flag", "", "again every second, until it is interrupted"),),
        wire="stats",
        run="swarmctl.operating:stats",
        group=DAEMON,
        meaning="what the daemon counts: queue, wal, async, cache, net, memory, gc, threads, locks",
        example="swarmctl stats wal --watch",
    ),
    Verb(
        "health",
        "",
        (),
        wire="health",
        run="swarmctl.operating:health",
        group=DAEMON,
        meaning="what is not as it should be: name, severity, since, fact, command",
        example="swarmctl health || page-somebody",
        note="Status 0: all is well, or as somebody asked (info). 1: something is to be looked at (warning, page). "
        "78: somebody must do something before the next start (person). 69: there is no daemon.",
    ),
    Verb(
        "config show",
        "[NAME…]",
        (),
        wire="config",
        run="swarmctl.configuring:show",
        group=DAEMON,
        meaning="the settings: name, value, unit, source, live or restart, default, bounds, meaning",
        example="swarmctl config show | grep -i batch",
    ),
    Verb(
        "config get",
        "NAME…",
        (),
        wire="config",
        run="swarmctl.configuring:get",
        group=DAEMON,
        meaning="the value of a setting",
        example="swarmctl config get LEASE",
    ),
    Verb(
        "config set",
        "NAME=VALUE…",
        (Option("--persist", "flag", "", "write it into the daemon's file, so that a restart keeps it"),),
        wire="config_set",
        run="swarmctl.configuring:set_values",
        group=DAEMON,
        meaning="change settings of the running daemon, until it ends",
        example="swarmctl config set LEASE=10m --persist",
        note="A setting that is read at a start only can be changed by --persist and a restart. With --persist the "
        "file is written by swarmctl itself, and keeps its comments.",
    ),
    Verb(
        "config unset",
        "NAME…",
        (),
        wire="config_unset",
        run="swarmctl.configuring:unset",
        group=DAEMON,
        meaning="take back what `config set` changed",
        example="swarmctl config unset LEASE",
    ),
    Verb(
        "config reload",
        "",
        (),
        wire="reload",
        run="swarmctl.configuring:reload",
        group=DAEMON,
        meaning="have the daemon read its file again; prints what changed",
        example="swarmctl config reload",
        note="A file with anything wrong in it changes nothing: status 78 and its line.",
    ),
)
