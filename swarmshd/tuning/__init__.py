"""swarmsh-tune: the settings of the disks below the journal, told, changed, verified, undone.

A program of its own, since the daemon must not be able to change the host. Of the daemon's rooms it knows only where
the state directory is, and the daemon knows nothing of it. Its parts:

``host``        the roots of /sys, /proc, /dev, /run and /etc; reading the small files there
``mounts``      a path -> what is mounted there
``devices``     a block device as sysfs has it: its class, its values, what is below and above it
``stack``       a path or a device -> all devices below, and which of them has the queue
``attributes``  the six values that may be changed, their bounds, what the kernel makes of them; those never touched
``planning``    what is wanted, by options or a profile, against what is
``record``      what was changed, kept for ``revert``; the lock
``applying``    write, read back, compare; apply, verify, revert
``persisting``  the same after the next start of the host: a udev rule, a tuned profile
``measuring``   how long a write with its sync takes, before and after
``telling``     tables, JSON, lines on stderr
``arguments``   the words of the command line
``program``     one function for each verb
"""
