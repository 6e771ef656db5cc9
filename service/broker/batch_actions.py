"""What can be done to a batch: cancel what has not ended, run again what has failed."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import redis
from rq.job import Job
from rq.queue import Queue
from rq.registry import CanceledJobRegistry, FailedJobRegistry, ScheduledJobRegistry
from rq.utils import as_text, current_timestamp, now, utcformat

from jobs.policy import DEFAULT_FAILURE_TTL
from service.batch_store import RECORD, shared_part
from service.broker.actions import CANCEL, RETRY, JobActions
from service.broker.batches import Batches
from service.errors import JobNotFound, StatusConflict

AT_ONCE = 500  # jobs that one script run acts on, which takes Redis some milliseconds
FEW = 100  # jobs whose places on the queue are searched for one by one

# KEYS: queue, canceled registry
# ARGV: what the jobs' ids begin with, what their keys begin with, how many at the queue's end to
#       leave out, most to look at, now (Unix), now (RQ's text), how long canceled jobs are kept
# → {how many were canceled, how many were looked at}
#
# Goes along the queue, since to search it for each job would take the square of its length. It
# begins at the end, because workers take from the front: what they take moves nothing behind it.
_SWEEP = f"""{CANCEL}
local last = redis.call('LLEN', KEYS[1]) - 1 - ARGV[3]
local first, canceled = math.max(last - ARGV[4] + 1, 0), 0
local window = last >= 0 and redis.call('LRANGE', KEYS[1], first, last) or {{}}
for i, id in ipairs(window) do
    local job = ARGV[2] .. string.sub(id, #ARGV[1] + 1)
    if string.sub(id, 1, #ARGV[1]) == ARGV[1] and redis.call('HGET', job, 'status') == 'queued' then
        redis.call('LSET', KEYS[1], first + i - 1, '')
        file_canceled(job, KEYS[2], id, ARGV[5], ARGV[6], ARGV[7])
        canceled = canceled + 1
    end
end
if canceled > 0 then
    redis.call('LREM', KEYS[1], -canceled, '')
end
return {{canceled, #window}}
"""

# For the jobs from one number on. What has ended is left out as far as the batch knows.
# KEYS: the batch's record, its marks, queue, …
# ARGV: what the jobs' ids begin with, what their keys begin with, number of the first, most, …
# → {how many were done, ids that a script can't do}
_EACH = """
local total = tonumber(redis.call('HGET', KEYS[1], 'total') or 0)
local first = tonumber(ARGV[3])
local last = math.min(first + ARGV[4], total) - 1
local marks = redis.call('GETRANGE', KEYS[2], first, last)
local done, others = 0, {}
for number = first, last do
    local mark = string.sub(marks, number - first + 1, number - first + 1)
    if mark == '' or not string.find(%r, mark, 1, true) then
        local digits = string.format('%%06x', number)
        local job, id = ARGV[2] .. digits, ARGV[1] .. digits
        %s
    end
end
return {done, others}
"""

# KEYS: …, scheduled registry, canceled registry
# ARGV: …, now (Unix), now (RQ's text), how long canceled jobs are kept
_CANCEL_EACH = CANCEL + _EACH % (
    "FXCG",
    """
        local status = redis.call('HGET', job, 'status')
        if status == 'queued' or status == 'scheduled' then
            cancel(job, KEYS[3], KEYS[4], KEYS[5], id, ARGV[5], ARGV[6], ARGV[7])
            if redis.call('HGET', job, 'status') == 'canceled' then done = done + 1 end
        elseif status then
            table.insert(others, id)
        end
    """,
)

# KEYS: …, failed registry, set of queues; ARGV: …, now (RQ's text), retries that each gets again
_RETRY_EACH = RETRY + _EACH % (
    "FCG",
    """
        local f = redis.call('HMGET', job, 'status', 'rate_limit_key')
        if f[1] == 'failed' and f[2] and f[2] ~= '' then
            table.insert(others, id)
        elseif f[1] == 'failed' then
            retry(job, KEYS[3], KEYS[4], KEYS[5], id, ARGV[5], ARGV[6])
            if redis.call('HGET', job, 'status') == 'queued' then done = done + 1 end
        end
    """,
)


@dataclass(frozen=True, slots=True)
class Canceled:
    """What became of a batch's jobs that had not ended."""

    canceled: int  #: at once
    stopping: int  #: they run; their workers were told to stop them


class BatchActions:
    """Acts on batches by id. Each raises `BatchNotFound`."""

    def __init__(self, client: "redis.Redis", batches: Batches, actions: JobActions) -> None:
        self._client, self._batches, self._actions = client, batches, actions
        self._sweep = client.register_script(_SWEEP)
        self._cancel_each = client.register_script(_CANCEL_EACH)
        self._retry_each = client.register_script(_RETRY_EACH)

    def cancel(self, batch_id: str) -> Canceled:
        """Cancel every job of it that has not ended."""
        fields = self._batches.fields(batch_id)
        queue = self._queue(fields)
        scheduled = ScheduledJobRegistry(queue=queue).key
        canceled = CanceledJobRegistry(queue=queue).key
        done = 0
        if int(fields["open"]) > FEW:
            done += self._sweep_queue(batch_id, queue.key, canceled)
        moment = [current_timestamp(), utcformat(now()), DEFAULT_FAILURE_TTL]
        stopping = 0
        for some, others in self._each(
            self._cancel_each, batch_id, fields, [queue.key, scheduled, canceled], moment
        ):
            done += some
            for job_id in others:  # they run, or wait for something
                with contextlib.suppress(JobNotFound, StatusConflict):  # it has just ended
                    at_once = self._actions.cancel(job_id)
                    done, stopping = done + at_once, stopping + (not at_once)
        return Canceled(done, stopping)

    def retry(self, batch_id: str) -> int:
        """Queue every failed job of it again; return how many there were."""
        fields = self._batches.fields(batch_id)
        queue = self._queue(fields)
        keys = [queue.key, FailedJobRegistry(queue=queue).key, Queue.redis_queues_keys]
        done = 0
        for some, others in self._each(
            self._retry_each, batch_id, fields, keys, [utcformat(now()), fields["retries"]]
        ):
            done += some
            for job_id in others:  # they need a place under a limit, which RQ's own code gives
                with contextlib.suppress(JobNotFound, StatusConflict):
                    self._actions.retry(job_id)
                    done += 1
        return done

    def _sweep_queue(self, batch_id: str, queue: str, canceled: str) -> int:
        shared, passed, done = shared_part(batch_id), 0, 0
        while True:
            some, seen = self._sweep(
                keys=[queue, canceled],
                args=[
                    shared,
                    Job.key_for(shared),
                    passed,
                    AT_ONCE,
                    current_timestamp(),
                    utcformat(now()),
                    DEFAULT_FAILURE_TTL,
                ],
            )
            done, passed = done + int(some), passed + int(seen) - int(some)
            if seen < AT_ONCE:
                return done

    def _each(
        self,
        script: Callable[..., Any],
        batch_id: str,
        fields: dict[str, str],
        keys: list[str],
        args: list[Any],
    ) -> Iterator[tuple[int, list[str]]]:
        shared, record = shared_part(batch_id), RECORD + batch_id
        for first in range(0, int(fields["total"]), AT_ONCE):
            done, others = script(
                keys=[record, f"{record}:marks", *keys],
                args=[shared, Job.key_for(shared), first, AT_ONCE, *args],
            )
            yield int(done), [as_text(job_id) for job_id in others]

    def _queue(self, fields: dict[str, str]) -> Queue:
        return Queue(fields["queue"], connection=self._client, serializer="json")
