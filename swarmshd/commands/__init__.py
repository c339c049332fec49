"""Messages become commands here, and results become replies.

A command is a wish, frozen and typed: what a peer asked for, checked as far as that is possible without
knowing the state. Bounds that are settings (payload size, description length) are not known here; the rules
check them.

``work``, ``looks``, ``governing``  the commands, a class each; ``rows``, what an ``import`` brings
``values``       what an argument may be; ``wish``, what all commands are
``table``        every verb and the class of its command; the request that it comes in
``converting``   from the values of the wire to those of a command
``checking``     what needs more than one argument
``structuring``  from a message to a request
``frames``       the bytes of requests and replies
``refusal``      a lawful no
"""

from swarmshd.commands.frames import (
    decode,
    encode_body,
    encode_body_with,
    encode_granted,
    encode_refusal,
    encode_result,
)
from swarmshd.commands.refusal import Actor, Refusal, lacking, one_line
from swarmshd.commands.structuring import asks_for_watch, digest, structure
from swarmshd.commands.table import COMMANDS, READS, Batch, Request

__all__ = [
    "COMMANDS",
    "READS",
    "Actor",
    "Batch",
    "Refusal",
    "Request",
    "asks_for_watch",
    "decode",
    "digest",
    "encode_body",
    "encode_body_with",
    "encode_granted",
    "encode_refusal",
    "encode_result",
    "lacking",
    "one_line",
    "structure",
]
