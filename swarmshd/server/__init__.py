"""Sockets, connections, backpressure, and who may connect.

``access``      the peer's credentials and the classes of verbs that it may use
``clock``       the one place where time is read; ``alarm`` wakes the server when something is due
``connection``  one peer: its decoder, its descriptors, its out-buffer
``listening``   the socket that they connect to; ``accepting`` takes them in
``places``      who is connected, and who must go for another; ``pool``, who may have requests under way
``stuck``       who does not take what it is owed; ``unfinished``, who does not end what it has begun
``committer``   the thread that syncs when the loop should not
``watching``    the processes that a request wants watched
``server``      the one task that owns them all
"""

from swarmshd.server.access import Access
from swarmshd.server.clock import Clock
from swarmshd.server.listening import descriptor_budget, listen
from swarmshd.server.server import Server

__all__ = ["Access", "Clock", "Server", "descriptor_budget", "listen"]
