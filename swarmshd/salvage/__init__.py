"""What can be had of the files of a journal beside and without the daemon: look, check, repair, backup, restore.

``survey``     everything that can be read, damaged or not, and exactly what cannot
``listing``    the files, and what is in them
``checking``   whether all of it is sound, what state it gives, and how fast the disk is
``repairing``  what is sound of a damaged journal becomes a journal of its own
``backup``     a journal in one stream, and back
``founding``   a journal of its own for a state
``formats``    in which format it is, and what an upgrade would have to do
``holes``      a file of which the disk does not give everything
``gauge``      how far a program has come

``python -m swarmshd.salvage`` is the program: `swarmctl journal` runs it for a directory, and the daemon beside itself.
Nothing here changes a journal that was there before, but the archive.
"""
