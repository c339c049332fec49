"""Who is calling: the agent's id, and the process that the daemon shall watch on its behalf.

An agent of shell commands is many processes, each perhaps in a session of its own; so the id comes from what stays the
same: an option, the environment, the session id that a harness exports, and only then the terminal's session.
Imports nothing that a bare interpreter has not loaded.
"""

import os

from swarmshd.protocol import NAME_CHARACTERS, NAME_MAX, is_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

HARNESSES = {"CLAUDE_CODE_SESSION_ID": "claude-", "CODEX_THREAD_ID": "codex-"}
"""Environment variables in which a harness says its session, and the prefix of the agent that it makes."""

HARNESS_DIGITS = 8
"""Leading characters of the session's id that the agent's id takes."""

SHELLS = frozenset("sh ash bash busybox csh dash elvish fish ksh ksh93 mksh nu pwsh tcsh xonsh yash zsh".split())
"""Names of processes that come and go between an agent and its commands."""

SELF = "swarmctl"


def agent_id(option: "str | None", environ: "Mapping[str, str]") -> "tuple[str, str]":
    """The agent's id, and where it comes from in words for people.

    Args:
        option: what ``--agent`` says.
        environ: the environment; empty values count as absent.

    Raises:
        ValueError: the option or the variable holds no name; the text says which.
    """
    for value, source in (
        (option, "--agent"),
        (environ.get("SWARMSH_AGENT"), "$SWARMSH_AGENT"),
        (environ.get("AGENT_ID"), "$AGENT_ID"),
    ):
        if value or (value is not None and source == "--agent"):
            if not is_name(value):
                raise ValueError(
                    f"{source}: {value!r} is not a name (1 to {NAME_MAX} letters, digits and . _ : / @ + -, "
                    "not starting with -)"
                )
            return value, source
    for variable, prefix in HARNESSES.items():
        session = environ.get(variable)
        if session:
            return _as_name(prefix + session[:HARNESS_DIGITS]), f"${variable}"
    host = os.uname().nodename.partition(".")[0]
    return _as_name(f"{_user()}.{host}.{os.getsid(0)}"), "the terminal session"


def _user() -> str:
    import pwd

    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid{uid}"


def _as_name(text: str) -> str:
    """``text`` with each character that a name may not have replaced."""
    name = "".join(character if character in NAME_CHARACTERS else "_" for character in text)[-NAME_MAX:]
    return name if name[0] != "-" else "_" + name[1:]


def watch_target(spec: str) -> int:
    """The process that ``--pid SPEC`` means: a number, or ``auto``, the nearest ancestor that is no shell.

    Raises:
        ValueError: it cannot or must not be watched; the text says why.
    """
    if spec == "auto":
        return _ancestor()
    if not (spec.isascii() and spec.isdigit() and len(spec) < 10):
        raise ValueError(f"{spec!r} is neither the number of a process nor auto")
    pid = int(spec)
    if pid == os.getpid():
        raise ValueError(f"{pid} is swarmctl itself, which ends at once; name the agent's process, or auto")
    if pid <= 1:
        raise ValueError(f"{pid} does not end before the machine does; name the agent's process, or auto")
    os.close(open_pidfd(pid))
    return pid


def _ancestor() -> int:
    pid = os.getppid()
    while pid > 1:
        name, parent, _ = _stat(pid)
        if name not in SHELLS and name != SELF:
            return pid
        pid = parent
    raise ValueError(
        "auto: there are only shells between swarmctl and the first process; give the number of the agent's"
    )


def _stat(pid: int) -> "tuple[str, int, str]":
    """The name, parent and state of a process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read().decode("utf-8", "replace")
    except OSError as error:
        raise ValueError(
            f"process {pid} cannot be looked at ({error.strerror}); give its number instead of auto"
        ) from None
    head, _, tail = text.rpartition(")")  # a name may hold anything, parentheses and blanks too
    fields = tail.split()
    return head.partition("(")[2], int(fields[1]), fields[0]


def open_pidfd(pid: int) -> int:
    """A descriptor of the process, the caller's to close.

    Raises:
        ValueError: there is no such process, it has ended, or it is a thread.
        OSError: the kernel or a sandbox does not give one, or there are too many open files.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except (ProcessLookupError, FileNotFoundError):
        raise ValueError(f"there is no process {pid}") from None
    except OSError as error:
        if error.errno == 22:  # EINVAL
            raise ValueError(f"{pid} is a thread, not a process") from None
        raise
    try:
        ended = _stat(pid)[2] in "ZX"
    except ValueError:
        ended = False  # /proc may be hidden; the descriptor tells the daemon anyway
    if ended:
        os.close(descriptor)
        raise ValueError(f"process {pid} has ended")
    return descriptor
