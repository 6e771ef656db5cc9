"""What can be done to a batch: cancel what has not ended, run again what has failed."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import redis
from rq.queue import Queue
from rq.registry import CanceledJobRegistry, FailedJobRegistry
from rq.utils import as_text, current_timestamp, now, utcformat

from jobs.policy import DEFAULT_FAILURE_TTL
from service.batch_marks import RECORD
from service.batch_store import shared_part
from service.broker.action_scripts import CANCEL, RETRY, SWEEP
from service.broker.actions import JobActions, cancel_keys
from service.broker.batches import Batches
from service.errors import JobNotFound, StatusConflict

AT_ONCE = 500  # jobs that one script run acts on, which takes Redis some milliseconds
LONGEST_SEARCH = 500_000  # entries of a queue, passed in looking for jobs one by one: about 0.1 s

# KEYS: queue, canceled registry
# ARGV: what the jobs' ids begin with, how many at the queue's end to leave out, most to look at,
#       now (Unix), now (RQ's text), how long canceled jobs are kept, by whom
# → {how many were canceled, how many were looked at}
_SWEEP = f"""{SWEEP}
now, stamp = tonumber(ARGV[4]), ARGV[5]
local function is_its(id)
    return string.sub(id, 1, #ARGV[1]) == ARGV[1]
        and redis.call('HGET', key_of(id), 'status') == 'queued'
end
return sweep(KEYS[1], KEYS[2], ARGV[2], ARGV[3], is_its, ARGV[6], ARGV[7])
"""

# For the jobs from one number on. What has ended is left out as far as the batch knows.
# KEYS: the batch's record, its marks, …
# ARGV: what the jobs' ids begin with, number of the first, most, now (Unix), now (RQ's text), …
# → {how many were done, ids of those that run}
_EACH = """
now, stamp = tonumber(ARGV[4]), ARGV[5]
local total = tonumber(redis.call('HGET', KEYS[1], 'total') or 0)
local first = tonumber(ARGV[2])
local last = math.min(first + ARGV[3], total) - 1
local marks = redis.call('GETRANGE', KEYS[2], first, last)
local done, running = 0, {}
for number = first, last do
    local mark = string.sub(marks, number - first + 1, number - first + 1)
    if mark == '' or not string.find(%r, mark, 1, true) then
        local id = ARGV[1] .. string.format('%%06x', number)
        %s
    end
end
return {done, running}
"""

# KEYS: …, those of `cancel`; ARGV: …, how long canceled jobs are kept, by whom
_CANCEL_EACH = CANCEL + _EACH % (
    "FXCG",
    """
        local did = cancel(id, {unpack(KEYS, 3)}, ARGV[6], ARGV[7])
        if did == 'canceled by this call' then
            done = done + 1
        elseif did == 'told to stop by this call' then
            table.insert(running, id)
        end
    """,
)

# KEYS: …, failed registry; ARGV: …, retries that each gets again
_RETRY_EACH = RETRY + _EACH % (
    "FCG",
    """
        if redis.call('HGET', key_of(id), 'status') == 'failed'
                and retry(id, KEYS[3], ARGV[6]) == 'queued by this call' then
            done = done + 1
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

    def cancel(self, batch_id: str, *, by: str) -> Canceled:
        """Cancel every job of it that has not ended; `by` tells people who did."""
        by = f"{by}, with its batch"
        fields = self._batches.fields(batch_id)
        queue = self._queue(fields)
        done, stopping = 0, 0
        if int(fields["open"]) * self._client.llen(queue.key) > LONGEST_SEARCH:
            done += self._sweep_queue(batch_id, queue, by)
        for some, running in self._each(
            self._cancel_each, batch_id, fields, cancel_keys(queue), DEFAULT_FAILURE_TTL, by
        ):
            done += some
            for job_id in running:  # its worker is told
                with contextlib.suppress(JobNotFound, StatusConflict):  # it has just ended
                    at_once = self._actions.cancel(job_id, by=by)
                    done, stopping = done + at_once, stopping + (not at_once)
        return Canceled(done, stopping)

    def retry(self, batch_id: str) -> int:
        """Queue every failed job of it again; return how many there were."""
        fields = self._batches.fields(batch_id)
        failed = FailedJobRegistry(queue=self._queue(fields)).key
        each = self._each(self._retry_each, batch_id, fields, [failed], fields["retries"])
        return sum(done for done, _running in each)

    def _sweep_queue(self, batch_id: str, queue: Queue, by: str) -> int:
        shared, passed, done = shared_part(batch_id), 0, 0
        while True:
            some, seen = self._sweep(
                keys=[queue.key, CanceledJobRegistry(queue=queue).key],
                args=[
                    shared,
                    passed,
                    AT_ONCE,
                    current_timestamp(),
                    utcformat(now()),
                    DEFAULT_FAILURE_TTL,
                    by,
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
        *more: Any,
    ) -> Iterator[tuple[int, list[str]]]:
        shared, record = shared_part(batch_id), RECORD + batch_id
        for first in range(0, int(fields["total"]), AT_ONCE):
            done, running = script(
                keys=[record, f"{record}:marks", *keys],
                args=[shared, first, AT_ONCE, current_timestamp(), utcformat(now()), *more],
            )
            yield int(done), [as_text(job_id) for job_id in running]

    def _queue(self, fields: dict[str, str]) -> Queue:
        return Queue(fields["queue"], connection=self._client, serializer="json")
