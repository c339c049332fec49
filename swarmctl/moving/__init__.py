"""Moving items, agents and queues between daemons, and over from the old system's files and back.

``reading``    a file -> its JSON objects, one by one, and what in it is damaged
``legacy``     the old system's objects -> rows of the wire
``sending``    rows -> frames -> what became of each
``report``     what was taken, repaired, doubled, refused or damaged, and where it stands
``importing``  the verb: which files, in which order

Everything is read as a stream: what is kept of a file is what is known of each item's name. Sources are opened for
reading only.
"""
