"""The statuses that a job has come to, out of its journal."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import redis
from rq.job import Job, JobStatus

from service.broker.status import Status, status_of
from service.journal import JOURNAL_SUFFIX

# KEYS: journal; → its entries but for those of the log, which may be a megabyte
_STATUSES = """
local found = {}
for _, entry in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
    if string.sub(entry, 1, 2) == '0 ' then
        table.insert(found, entry)
    end
end
return found
"""


@dataclass(frozen=True, slots=True)
class Step:
    """One of them."""

    status: Status
    at: datetime
    attempt: int  #: executions begun until then
    worker: str | None  #: of a job that runs


def read_steps(client: "redis.Redis", job_id: str) -> list[Step]:
    """Since the job was enqueued, oldest first; none where it has no journal."""
    entries = client.eval(_STATUSES, 1, f"{Job.key_for(job_id)}{JOURNAL_SUFFIX}")
    return [step for entry in entries for step in _steps(entry)]


def _steps(entry: bytes) -> Iterator[Step]:
    with contextlib.suppress(ValueError, TypeError, KeyError):  # anybody may have written anything
        told = json.loads(entry.partition(b" ")[2])
        yield Step(
            status_of(JobStatus(told["status"])),
            datetime.fromtimestamp(told["at"], UTC),
            int(told.get("attempt", 0)),
            told.get("worker"),
        )
