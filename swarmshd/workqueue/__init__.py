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
``submitting``  ``claiming``  ``holding``  ``mending``  ``governing``  ``importing``  ``timers``: the rules
``arriving``    what the events of an import do
``looking``     what the state looks like to those who ask
``overview``    the whole on one screen
``exporting``   what items and agents are called everywhere, and what is said of them
``answers``     the replies to changes
``queue``       the whole
"""
