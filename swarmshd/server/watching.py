"""The processes that a request wants watched: the descriptors that came for its commands become identities."""

import os
from collections.abc import Callable, Sequence

from swarmshd.commands import Batch, Refusal, Request

Identity = tuple[int, int]

WatchProcess = Callable[[int], Identity]
"""Takes a pidfd; gives the identity that its process is watched under. Raises ValueError with the reason."""


def watched(request: Request, passed: Sequence[int], watch: WatchProcess) -> tuple[Request, tuple[Identity, ...]]:
    """The request and the processes that it wants watched, in order; what is amiss in a batch is refused there.

    Args:
        request: as it came.
        passed: for each of its commands the descriptor that came for it, or -1; empty if none came at all.
        watch: takes over a descriptor.

    Raises:
        Refusal: a single command has no descriptor, or one that cannot be watched.
    """
    if not isinstance(request.command, Batch):
        if not asks(request):
            return request, ()
        return request, (_identity(request, passed[0] if passed else -1, watch),)
    found = []
    lines = list(request.command.requests)
    for number, each in enumerate(lines):
        descriptor = passed[number] if passed else -1
        if isinstance(each, Request) and asks(each):
            try:
                found.append(_identity(each, descriptor, watch))
            except Refusal as refusal:
                lines[number] = refusal
        elif descriptor >= 0:
            os.close(descriptor)
    return Request(request.verb, Batch(tuple(lines))), tuple(found)


def asks(request: Request) -> bool:
    """Whether the command wants a process watched."""
    return bool(getattr(request.command, "watch", False))


def _identity(request: Request, descriptor: int, watch: WatchProcess) -> Identity:
    if descriptor < 0:
        raise Refusal("bad_request", f"{request.verb}: watch is set, but no process descriptor came along")
    try:
        return watch(descriptor)
    except ValueError as error:
        raise Refusal("bad_request", f"{request.verb}: {error}") from None
