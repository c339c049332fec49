"""The program: ``python -m swarmshd.salvage WHAT --state-dir DIR``, one JSON object a line, a failure in one line.

    list | check [--deep] [--no-measure] | dump [--since POSITION] [--item ID]      look
    upgrade                              say in which format it is, and what is to be done about that
    archive [--all] [--prune MS] [--dry-run]          tend the archive as a daemon with default settings would
    repair --to DIR                      make a sound journal of a damaged one
    backup | verify | restore            a backup to standard output, or from standard input

With ``--upto POSITION`` a daemon is at work there, the one that has started this, and everything up to that position
is durable; this stands back for it, and ends with it. Without it, what must not meet a daemon takes the lock of the
directory.

Exit status: 0 done, and sound; 5 a directory is not empty; 74 the disk; 75 a daemon is at work; 78 damage, or a file of
a later program.
"""

import argparse
import gc
import json
import os
import resource
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from swarmshd import beside
from swarmshd.compact import Declined
from swarmshd.journal import JournalError, Locked, StateLock, Terms, archive
from swarmshd.journal.disk import DISK
from swarmshd.salvage import backup
from swarmshd.salvage.checking import Live, Moved, check, measure
from swarmshd.salvage.formats import upgrade
from swarmshd.salvage.founding import NotEmpty
from swarmshd.salvage.listing import dump, list_files
from swarmshd.salvage.repairing import Hopeless, repair
from swarmshd.settings import DAY, defaults

DAMAGED = 78


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="swarmshd.salvage", description="Look at the files of a journal.")
    parser.add_argument("what", choices=sorted(VERBS))
    parser.add_argument("--state-dir", type=Path, help="the directory of the journal")
    parser.add_argument("--upto", type=int, help="a daemon is at work there, and this position is durable")
    parser.add_argument("--live", help="the digest of the state that the daemon has at that position")
    parser.add_argument("--progress", type=int, metavar="FD", help="where to write how far it has come")
    parser.add_argument("--deep", action="store_true", help="make the newest snapshot anew from the one before")
    parser.add_argument("--no-measure", action="store_true", help="do not measure the disk")
    parser.add_argument("--since", type=int, default=0, help="only events after this position")
    parser.add_argument("--item", type=int, help="only events of this item")
    parser.add_argument("--to", type=Path, help="an empty directory, or one that is not there yet")
    parser.add_argument("--all", action="store_true", help="compress whatever its age")
    parser.add_argument("--prune", type=int, help="remove what is so many milliseconds old")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--now", type=int, default=0, help="milliseconds since 1970")
    return parser.parse_args()


@contextmanager
def alone(options: argparse.Namespace) -> Iterator[None]:
    """No daemon works in the directory meanwhile; or it knows that we are here."""
    options.state_dir.stat()  # there is nothing to make here
    if options.upto is not None:
        yield
    else:
        with StateLock(options.state_dir) as lock:
            lock.acquire(retries=0)
            yield


def say(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Print them; the last one."""
    row: dict[str, Any] = {}
    for row in rows:
        sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()
    return row


def _list(options: argparse.Namespace) -> int:
    options.state_dir.stat()
    say(list_files(options.state_dir))
    return 0


def _upgrade(options: argparse.Namespace) -> int:
    with alone(options):
        say(upgrade(options.state_dir))
    return 0


def _check(options: argparse.Namespace) -> int:
    with alone(options):
        live = None if options.live is None else Live(options.upto, options.live)
        gauge = beside.Gauge(options.progress)
        verdict = say(check(options.state_dir, options.upto, deep=options.deep, live=live, gauge=gauge))
        if not options.no_measure:
            say([measure(options.state_dir)])
    return 0 if verdict["sound"] else DAMAGED


def _dump(options: argparse.Namespace) -> int:
    gauge = beside.Gauge(options.progress)
    with alone(options):
        say(dump(options.state_dir, options.upto, since=options.since, item=options.item, gauge=gauge))
    return 0


def _repair(options: argparse.Namespace) -> int:
    with alone(options), StateLock(options.to) as lock:
        lock.acquire(retries=0)
        say(repair(options.state_dir, options.to))
    return 0


def _archive(options: argparse.Namespace) -> int:
    usual = defaults()
    compress_after = 0 if options.all else usual.journal_compression_age_days * DAY
    remove_after = usual.journal_retention_days * DAY
    if options.prune is not None:
        remove_after = min(options.prune, remove_after)
    terms = Terms(compress_after, remove_after, usual.archive_max_bytes)
    with alone(options):
        done = archive.tend(DISK, options.state_dir, terms, options.now, dry=options.dry_run)
    say({"what": what, "file": f"archive/{name}"} for what, names in done._asdict().items() for name in names)
    return 0


def _backup(options: argparse.Namespace) -> int:
    out = sys.stdout.buffer
    salt = int.from_bytes(os.urandom(4), "big")
    with alone(options):
        upto = backup.end(options.state_dir) if options.upto is None else options.upto
        gauge = beside.Gauge(options.progress)
        backup.write(options.state_dir, upto, out.write, salt=salt, created=options.now, gauge=gauge)
        out.flush()
    return 0


def _verify(_: argparse.Namespace) -> int:
    with TemporaryDirectory(prefix="swarmsh-") as place:
        say([backup.verify(sys.stdin.buffer, Path(place))])
    return 0


def _restore(options: argparse.Namespace) -> int:
    with StateLock(options.state_dir) as lock:
        lock.acquire(retries=0)
        say([backup.restore(sys.stdin.buffer, options.state_dir)])
    return 0


VERBS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": _list,
    "check": _check,
    "dump": _dump,
    "repair": _repair,
    "archive": _archive,
    "upgrade": _upgrade,
    "backup": _backup,
    "verify": _verify,
    "restore": _restore,
}


def main() -> int:
    """Do what the command line asks for; return the exit status."""
    options = arguments()
    if options.upto is not None:
        beside.settle(os.getppid())
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a file for each segment
    gc.disable()  # nothing here is dropped before the end
    try:
        return VERBS[options.what](options)
    except (Locked, Moved) as error:
        return fail(error, 75)
    except NotEmpty as error:
        return fail(error, 5)
    except (JournalError, Declined, Hopeless, backup.Unusable, ValueError) as error:
        return fail(error, DAMAGED)
    except BrokenPipeError:  # whoever reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}" if error.filename else error, 74)


def fail(error: Exception | str, status: int) -> int:
    """Say in one line why nothing comes of it."""
    sys.stderr.write(f"swarmshd.salvage: {error}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
