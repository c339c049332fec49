"""What is typed about the machine on which it all runs: its shells, its disks, its services; and for help."""

from __future__ import annotations

from swarmctl.options import DAEMON, Option, Verb

VERBS = (
    Verb(
        "completion",
        "[bash|zsh|fish]",
        (Option("--of", "of", "WHAT", "instead of a script, what there is now, a word and a tab and about it a line"),),
        wire="",
        run="swarmctl.completion:completion",
        group=DAEMON,
        meaning="the script with which a shell completes command lines",
        example="source <(swarmctl completion bash)",
        note="WHAT is queues, agents, items, claimed, buried, types, teams or locks; the scripts ask for these. It is "
        "silent when the daemon does not answer at once.",
    ),
    Verb(
        "tune disk",
        "[WHAT] [PATH]",
        (
            Option("--device", "text", "DEV", "this disk, instead of those below PATH"),
            Option(
                "--profile",
                "text",
                "P",
                "whose values: report has none and says what is not right (default); or journal",
            ),
            Option("--scheduler", "text", "S", "one of none, mq-deadline, kyber, bfq"),
            Option("--nr-requests", "text", "N", "requests that may queue (4 to 2048)"),
            Option("--read-ahead-kb", "text", "N", "how far is read ahead"),
            Option("--rq-affinity", "text", "N", "where a request completes (0 to 2)"),
            Option("--nomerges", "text", "N", "how little requests are merged (0 to 2)"),
            Option("--wbt-lat-usec", "text", "N", "write-back throttling: 0 off, -1 the kernel's own"),
            Option("--yes", "flag", "", "with apply and bench: do it"),
            Option("--force", "flag", "", "with revert: also what somebody else has changed since"),
            Option("--rounds", "text", "N", "with bench: so many pairs (8)"),
            Option("--writes", "text", "N", "with bench: so many writes in each round (64)"),
            Option("--root", "path", "DIR", "look at a copy of a host's /sys and /proc"),
        ),
        wire="",
        run="swarmctl.tuning:disk",
        group=DAEMON,
        meaning="the settings of the disks below the journal, as `swarmsh-tune` has them",
        example="swarmctl tune disk plan --scheduler mq-deadline",
        note="`tune plan` is `tune disk plan`, and so with the others. "
        "WHAT is show, plan (unless given), apply, verify, revert, persist, unpersist or bench; PATH the state "
        "directory unless given. It asks no daemon, and has that program's exit statuses: 2 says that changes are "
        "pending, 64 that the command line is wrong.",
    ),
    Verb(
        "tune check",
        "",
        (),
        wire="stats",
        run="swarmctl.checklist:check",
        group=DAEMON,
        meaning="the tuning guide's checklist: number, verdict, point, fact, command",
        example="swarmctl tune check",
        note="The verdict is pass, fail, or absent, where the part is not in this release. Status 1: a point fails, "
        "and its command mends it.",
    ),
    Verb(
        "install-units",
        "",
        (
            Option("--now", "flag", "", "enable and start the service as well"),
            Option("--print", "flag", "", "print the files instead"),
            Option("--uninstall", "flag", "", "stop the service and remove the files; the queue stays"),
            Option("--user", "flag", "", "a service of your own, under your user's manager; needs no root"),
            Option("--root", "path", "DIR", "write below this directory, for packagers; nothing is run"),
            Option("--bin-dir", "path", "DIR", "the programs will be there (where this one is)"),
        ),
        wire="",
        run="swarmctl.installing:install",
        group=DAEMON,
        meaning="put the systemd units in place; prints the files",
        example="sudo /opt/swarmsh/bin/swarmctl install-units --now",
        note="A file that was changed since is never overwritten: status 5, and nothing is written. With --bin-dir "
        "/usr/bin the files go below /usr/lib, as a package's do.",
    ),
    Verb(
        "help",
        "[VERB…]",
        (Option("--all", "flag", "", "every name that is accepted"),),
        wire="",
        run="swarmctl.help:help_verb",
        group=DAEMON,
        meaning="help about a verb, about exit statuses (exit), or for agents (agents)",
        example="swarmctl help claim",
    ),
)
