"""The figures that are promised, measured on the machine at hand: ``python -m tests.benchmark [NAME…] [--json]``.

Every figure stands beside what the same machine gave in the same run for the plainest thing one could compare it
with: a bare interpreter (``python3 -c pass``), and a loop of write and fdatasync over zeroes on the file system that
the journal lies on. Targets are ratios to those wherever that makes sense, so that they mean the same on a slow disk.

``figure``     what was measured, and whether it is what was promised
``ground``     the machine, the two yardsticks, and daemons to measure
``load``       clients that cost little beside the daemon
``programs``   swarmctl as whole processes
``durable``    durable commands: one client, many, and many in a frame
``clients``    the Python Client, for comparison
``items``      many items: memory, and start
``recovery``   a million items: recovery, memory, a fold under load; and room that was made before
``looks``      what people look at, with many items and with few
``moving``     export and import of many items
``agents``     agents that only heartbeat; the death of a watched process
``bytes``      what the journal takes for a command
``peers``      beanstalkd and redis, if they are installed

Nothing here asserts a time, and nothing here is run by the tests.
"""
