"""All rules of items, claims, agents and queues. Pure: no clock, no log, no chance, no I/O.

``records``     items, claims, agents, queues, groups, and the table along which items move
``tables``      the state, and ``apply``: the one way in which it changes
``applying``    what each event does to it
``rows``        the state as the rows of a snapshot, and back
``ready``       which ready item is next, without looking through them
``deadlines``   when something happens by itself
``waiting``     those who wait
``policy``      the limits and defaults that the rules go by
``mint``        what the rules cannot make themselves: numbers and chance
``desk``        what every rule starts from
``drawing``     how many numbers a command may take
``submitting``  ``claiming``  ``holding``  ``mending``  ``clearing``  ``locking``  ``governing``  ``importing``
``timers``      these nine are the rules
``arriving``    what the events of an import do
``lost``        what becomes of the state when a part of its past is lost
``looking``     what the state looks like to those who ask
``counting``    how many items there are
``explaining``  why nobody has an item, why an agent gets nothing
``overview``    the whole on one screen
``exporting``   what items and agents are called everywhere, and what is said of them
``answers``     the replies to changes
``reindexing``  what is found by the indexes, against what the items say
``queue``       the whole
"""
