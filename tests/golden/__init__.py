"""Journals as released programs wrote them, which every later program must read to the same items.

A directory for each format, named by that of the journal's files and that of events and rows (``1-1``): ``state`` is a
state directory with an archive, ``torn`` one that a crash has left with a torn tail, ``backup`` a backup of the first;
``expected.json`` is what they held when they were written. They are bytes, and never made again. Whoever raises
`records.FORMAT` or `events.FORMAT` makes the directory of the new format, with the program that is to be released::

    python -m tests.golden
"""
