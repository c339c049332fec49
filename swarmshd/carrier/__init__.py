"""Carries out errands: requests that take long, beside the engine.

``carrier``  one task for each errand; ends with its client, its daemon, or its work
``past``     the processes that read the journal's files, and the pages that are made of what they tell
"""

from swarmshd.carrier.carrier import Carrier

__all__ = ["Carrier"]
