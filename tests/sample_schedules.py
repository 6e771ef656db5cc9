"""Tasks that tests have enqueued by the clock."""

from jobs import Retry, job

UNSERVED = "unserved"  # a queue that no worker takes from, so that what is enqueued can be counted


@job(queue=UNSERVED, retry=Retry(max=2, interval=[1, 2]), max_crashes=5, timeout=77)
def stay_queued(note: str = "") -> str:
    """Wait to be counted."""
    return note
