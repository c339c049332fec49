"""Carries out errands: requests that take long, beside the engine.

``carrier``     one task for each errand; ends with its client, its daemon, or its work
``program``     a process that is read from
``past``        the processes that look back, and the pages that are made of what they tell
``inspection``  what is asked of the journal's files: list, check, dump, archive, backup
``streams``     the processes that look at them, which tell more than one reply holds
``digest``      what the daemon's state is at a position
``snapshots``   one fold for all who ask for one
``indexes``     the indexes of the queue, gone through step by step
"""

from swarmshd.carrier.carrier import Carrier

__all__ = ["Carrier"]
