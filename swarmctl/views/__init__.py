"""What people look at on a terminal; nothing here is loaded when a script asks.

``tables``     rows of items, agents and queues, as aligned columns with relative times
``details``    everything about one thing, what matters first
``dashboard``  the whole on one screen
``live``       the verbs that show it: once, again and again on a terminal, or into a log
``terminal``   a terminal that is borrowed, and given back as it was
"""
