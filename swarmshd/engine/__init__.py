"""The single writer: commands in, durable replies out.

``inbox``     requests that have come, and those that are held back until their client is ready
``deciding``  from a request to its answer
``cache``     replies to questions, until something changes
``relaxed``   what is answered before it is written
``durability`` when what was written is synced
``commits``   how the commits go
``stats``     the engine's parts of ``stats``; ``health``, named conditions; ``telling``, what else it tells of itself
``numbers``   ids, fences and positions that are never handed out twice, secrets and chance
``rates``     how much happens, by kind, in all and per second
``rounds``    the round: what was decided and is not written yet, and the replies that wait for it
``policy``    the limits and defaults of the rules, as the settings have them
``space``     what may still be decided when the journal's disk is full
``aside``     requests that are answered later, and not by the rules
``following`` those who follow the events, from the ``ring`` of the last batches
``errands``   requests that are carried out beside the engine
``recovery``  from the files of a stopped daemon to a queue that serves
``client``    a peer as the engine knows it, and the claims that are on their way to it
``engine``    the whole
"""

from swarmshd.engine.aside import Asked
from swarmshd.engine.client import OWED_MAX, Client, Delivery
from swarmshd.engine.engine import Engine
from swarmshd.engine.errands import Errand
from swarmshd.engine.health import PAGE, PERSON, WARNING, Condition
from swarmshd.engine.numbers import Numbers
from swarmshd.engine.recovery import Started, start
from swarmshd.workqueue.waiting import Waiter

__all__ = [
    "OWED_MAX",
    "PAGE",
    "PERSON",
    "WARNING",
    "Asked",
    "Client",
    "Condition",
    "Delivery",
    "Engine",
    "Errand",
    "Numbers",
    "Started",
    "Waiter",
    "start",
]
