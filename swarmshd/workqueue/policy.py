"""The limits and defaults that the rules go by, as plain values.

The table of settings has their names, bounds and meanings; whoever starts the daemon makes a policy of it.
Changing a policy changes decisions from then on and nothing that was decided before.
"""

from attrs import frozen


@frozen
class Policy:
    """All durations in milliseconds, all sizes in bytes."""

    lease: int
    lease_max: int
    stall_after: int
    max_attempts: int
    backoff_base: int
    backoff_max: int
    crash_cap: int
    release_cap: int
    retain_done: int
    retain_done_items: int
    retain_done_bytes: int
    max_items: int
    queue_max_length: int
    queues: int
    agents: int
    payload_max: int
    checkpoint_max: int
    output_tail: int
    description_max: int
    keys_max: int
    memory_max: int
    require_token: bool
    waiters_max: int
    batch_size: int
    indexed: bool = True
    """Whether there are indexes; does not change while the program runs."""


JITTER = 0.2
"""Backoff is spread by this share, so that what failed together does not come back together."""

KEY_CHOSEN_KEPT = 24 * 3_600_000
"""How long the idempotency key that a user chose is kept."""

KEY_MINTED_KEPT = 15 * 60_000
"""How long the key that a client minted for one change is kept."""

AGENT_IDLE_KEPT = 3_600_000
"""How long an agent that never registered is remembered after its last operation."""

AGENT_GONE_KEPT = 24 * 3_600_000
"""How long a registered agent that says nothing keeps its place when there are many."""
