"""From settings to the limits and defaults that the rules go by."""

from swarmshd.settings import Settings
from swarmshd.workqueue.policy import Policy


def policy(settings: Settings) -> Policy:
    """The limits and defaults of the rules, as the settings have them."""
    s = settings
    return Policy(
        lease=s.lease,
        lease_max=s.lease_max,
        stall_after=s.stall_after,
        max_attempts=s.max_attempts,
        backoff_base=s.backoff_base,
        backoff_max=s.backoff_max,
        crash_cap=s.crash_cap,
        release_cap=s.release_cap,
        retain_done=s.retain_done,
        retain_done_items=s.retain_done_items,
        retain_done_bytes=s.retain_done_bytes,
        max_items=s.max_items,
        queue_max_length=s.queue_max_length,
        queues=s.queues,
        agents=s.agents,
        payload_max=s.payload_max,
        checkpoint_max=s.checkpoint_max,
        output_tail=s.output_tail,
        description_max=s.description_max,
        keys_max=s.keys_max,
        memory_max=s.process_memory_limit_bytes * s.memory_critical_threshold_pct // 100,
        require_token=s.require_token,
        waiters_max=s.waiters_max,
        batch_size=s.batch_size,
        indexed=s.work_queue_index_enabled,
    )
