"""Jobs as they are read, for tests of what is said of them."""

from typing import Any

from service.broker.records import JobRecord
from service.broker.status import Status


def a_job(**fields: Any) -> JobRecord:
    """With these fields, and nothing in the others."""
    plain = {
        "id": "j",
        "task": "t",
        "status": Status.QUEUED,
        "queue": "default",
        "parameters": {},
        "result": None,
        "error": None,
        "enqueued_at": None,
        "scheduled_for": None,
        "expires_at": None,
        "started_at": None,
        "ended_at": None,
        "attempts": 1,
        "retries_left": 0,
        "worker": None,
        "depends_on": [],
        "waiting_for": None,
    }
    return JobRecord(**plain | fields)
