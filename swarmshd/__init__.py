"""swarmshd: a work queue for swarms of agents on one host.

The rooms of this package, each with its one idea:

``protocol``    frame <-> message; the verbs, refusal codes, exit statuses and limits of the wire
``cbor``        the subset of CBOR that our frames use, for programs that must start fast
``commands``    message -> frozen typed command; the one home of cattrs on the wire
``events``      the facts that the journal keeps <-> CBOR
``told``        an event as people and programs are told it; pure
``workqueue``   every rule of items, claims, agents and queues; pure
``records``     journal bytes: segment header, batch frame, snapshot envelope; pure
``journal``     segments on disk: append, sync, rotate, recover, seal, prune
``beside``      what the programs have in common that run beside the daemon
``history``     tells what the journal holds of the past, as its own process
``compact``     folds snapshot + sealed segments into the next snapshot, as its own process
``salvage``     what can be had of the journal's files beside the daemon: check, repair, backup, restore
``engine``      the single writer: decide, apply, group commit, release replies, deadlines
``server``      sockets, connections, backpressure, peer credentials
``liveness``    pidfds of watched processes
``carrier``     carries out what takes long, beside the engine
``keeper``      what the daemon does beside serving: room ahead, folds, the archive
``memory``      when garbage is collected, and what is done when memory runs short
``settings``    the one table of settings
``configuration``  how a file, the environment and options become settings
``control``     the settings of a running daemon: what is in force, how it changes, who is told
``refusing``    serves the socket while the daemon needs a person
``tuning``      the settings of the disks below the journal; swarmsh-tune, a program of its own
``systemd``     the notify protocol and socket activation
``whereabouts`` where the state directory and the socket are
``main``        arguments, configuration, signals, start and stop order

Who may import whom is written in ``tests/test_architecture.py`` and drawn in ``docs/architecture.md``.
"""

__version__ = "0.1.0"
