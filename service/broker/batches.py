"""Batches that were accepted: how they do, and what became of each job."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import redis
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.utils import as_text, now, str_to_date, utcformat

from service.batch_marks import MARK_JOB, RECORD
from service.batch_store import job_id_in, shared_part
from service.broker.records import JobReader
from service.broker.status import Status
from service.errors import BatchNotFound
from service.failure import Failure

AT_ONCE = 1_000  # jobs looked at by one script run, which takes Redis a millisecond or two
READ_AT_ONCE = 200  # jobs whose results are read in one round trip
GONE = "gone"  #: the status of a job that was removed before anybody saw how it ended

_STATUSES = {
    "q": Status.QUEUED,
    "s": Status.SCHEDULED,
    "w": Status.WAITING,
    "F": Status.FINISHED,
    "X": Status.FAILED,
    "C": Status.CANCELED,
    "G": GONE,
}

# KEYS: the batch's record, its marks
# ARGV: batch id, what its jobs' ids begin with, what their keys begin with, number of the first to
#       look at ('' for the first that has not ended), most, now (RQ's text)
# → {number of the first, how many had changed}
_LOOK = f"""{MARK_JOB}
local record = redis.call('HMGET', KEYS[1], 'total', 'initial')
local total = tonumber(record[1] or 0)
local from = tonumber(ARGV[4])
if not from then
    local marks = redis.call('GET', KEYS[2]) or ''
    from = (string.find(marks, '[^FXCG]') or #marks + 1) - 1
end
local to, changed = math.min(from + ARGV[5], total) - 1, 0
local marks = redis.call('GETRANGE', KEYS[2], from, to)
for number = from, to do
    local mark = string.sub(marks, number - from + 1, number - from + 1)
    if mark ~= 'F' and mark ~= 'G' then
        local digits = string.format('%06x', number)
        local f = redis.call('HMGET', ARGV[3] .. digits, 'status', 'ended_at')
        local ended_at = (f[2] and f[2] ~= '') and f[2] or ARGV[6]
        local known = (mark == '' or mark == '\\0') and record[2] or mark
        -- One that had ended, and is no more, has expired.
        if (f[1] or not BATCH_ENDED[mark]) and known ~= BATCH_MARKS[f[1] or 'gone']
                and mark_job(ARGV[1], ARGV[2] .. digits, f[1] or 'gone', ended_at) then
            changed = changed + 1
        end
    end
end
return {{from, changed}}
"""


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One batch. Times are UTC; those that have not come yet, or can't be told, are None."""

    id: str
    task: str
    queue: str
    created_at: datetime
    total: int
    counts: dict[str, int]  #: of its jobs, by status
    progress: float  #: the share of its jobs that have ended
    eta: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class BatchRow:
    """What became of one job of a batch."""

    index: int  #: its place in the batch, from 0
    id: str
    status: str
    result: Any
    error: Failure | None
    expired: bool  #: whether nothing but its status is known any more


class Batches:
    """Reads batches. Every method raises `BatchNotFound` where there is none of this id.

    Paddock's own scripts tell a batch of every change. What others change (a stock `rq worker`,
    `rq requeue`) is found by looking: at the jobs from the first open one on, in which order they
    run, for as long as there is news; and at a thousand somewhere else. So reading a batch costs
    what has happened since it was read last, not what it holds.
    """

    def __init__(self, client: "redis.Redis", reader: JobReader) -> None:
        self._client, self._reader = client, reader
        self._look_at = client.register_script(_LOOK)

    def get(self, batch_id: str) -> BatchRecord:
        """How it does now."""
        fields = self.fields(batch_id)
        self._look(batch_id, int(fields["total"]))
        started = StartedJobRegistry(fields["queue"], connection=self._client).key
        with self._client.pipeline() as pipe:  # a transaction: the two must fit
            pipe.hgetall(RECORD + batch_id)
            pipe.zrange(started, 0, -1)
            record, executions = pipe.execute()
        shared = shared_part(batch_id)
        running = {as_text(entry).partition(":")[0] for entry in executions}
        return _record(
            batch_id, _texts(batch_id, record), sum(job.startswith(shared) for job in running)
        )

    def fields(self, batch_id: str) -> dict[str, str]:
        """Its record as it is kept."""
        return _texts(batch_id, self._client.hgetall(RECORD + batch_id))

    def results(self, batch_id: str) -> Iterator[list[BatchRow]]:
        """Every job in the order of the batch, some at a time."""
        total = int(self.fields(batch_id)["total"])
        return (
            self._rows(batch_id, range(start, min(start + READ_AT_ONCE, total)))
            for start in range(0, total, READ_AT_ONCE)
        )

    def _rows(self, batch_id: str, numbers: range) -> list[BatchRow]:
        ids = [job_id_in(batch_id, number) for number in numbers]
        kept = self._client.getrange(f"{RECORD}{batch_id}:marks", numbers[0], numbers[-1])
        marks = as_text(kept).ljust(len(ids), "\0")
        return [
            BatchRow(number, job.id, job.status, job.result, job.error, expired=False)
            if job
            else BatchRow(number, job_id, _last_seen(mark), None, None, expired=True)
            for number, job_id, mark, job in zip(
                numbers, ids, marks, self._reader.read(ids), strict=True
            )
        ]

    def _look(self, batch_id: str, total: int) -> None:
        if total > AT_ONCE:
            start, news = self._look_from(batch_id, "")
            while news and start + AT_ONCE < total:
                start, news = self._look_from(batch_id, start + AT_ONCE)
        self._look_from(batch_id, random.randrange(0, total, AT_ONCE))

    def _look_from(self, batch_id: str, start: int | str) -> tuple[int, int]:
        shared = shared_part(batch_id)
        start, news = self._look_at(
            keys=[RECORD + batch_id, f"{RECORD}{batch_id}:marks"],
            args=[batch_id, shared, Job.key_for(shared), start, AT_ONCE, utcformat(now())],
        )
        return int(start), int(news)


def _texts(batch_id: str, record: Mapping[Any, Any]) -> dict[str, str]:
    if not record:
        raise BatchNotFound(batch_id)
    return {as_text(name): as_text(value) for name, value in record.items()}


def _last_seen(mark: str) -> str:
    status = _STATUSES.get(mark, GONE)
    return status if status in (Status.FINISHED, Status.FAILED, Status.CANCELED) else GONE


def _record(batch_id: str, fields: dict[str, str], running: int) -> BatchRecord:
    total, still_open = int(fields["total"]), int(fields["open"])
    counts = {str(status): int(fields[mark]) for mark, status in _STATUSES.items()}
    queued = counts[Status.QUEUED]  # the mark is for both: who runs, RQ's registry knows
    running = min(running, queued)
    counts |= {Status.QUEUED: queued - running, Status.RUNNING: running}
    ended = total - still_open
    return BatchRecord(
        id=batch_id,
        task=fields["task"],
        queue=fields["queue"],
        created_at=_moment(fields["created_at"]),
        total=total,
        counts={name: counts[name] for name in (*Status, GONE)},
        progress=ended / total,
        eta=_eta(fields["first_ended_at"], ended, still_open),
        finished_at=None if still_open else _moment(fields["last_ended_at"]),
    )


def _eta(first_ended_at: str, ended: int, still_open: int) -> datetime | None:
    """At the pace that it has had since the first of its jobs ended."""
    if ended < 2 or not still_open:
        return None
    moment = datetime.now(UTC)
    return moment + (moment - _moment(first_ended_at)) / (ended - 1) * still_open


def _moment(text: str) -> datetime:
    return str_to_date(text.encode())
