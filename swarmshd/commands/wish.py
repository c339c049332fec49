"""What makes a class that of a command: frozen, with a slot for each argument."""

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attrs import frozen as wish
else:
    from attrs import define

    # That nobody changes one is for the type checker to see: at run time it would make each cost three times as much.
    wish = partial(define, unsafe_hash=True)

__all__ = ["wish"]
