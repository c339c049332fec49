"""What people look at on a terminal; nothing here is loaded when a script asks.

``tables``     rows of items, agents and queues, as aligned columns with relative times
``details``    everything about one thing, what matters first
``dashboard``  the whole on one screen
``live``       a dashboard that stays, and leaves the terminal as it was
"""
