"""What can be done to many jobs at once: cancel, or run again, all that fit a filter."""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any

import redis
from rq.job import JobStatus
from rq.queue import Queue
from rq.registry import CanceledJobRegistry
from rq.utils import as_text, now, utcformat

from jobs.policy import DEFAULT_FAILURE_TTL
from service.broker.action_scripts import CANCEL, RETRY, SWEEP
from service.broker.actions import JobActions
from service.broker.batch_actions import AT_ONCE, Canceled
from service.broker.listing import JobFilter, JobListing
from service.broker.records import JobReader
from service.broker.status import FINAL, Status, status_of
from service.errors import JobNotFound, StatusConflict

# ARGV: now (Unix), now (RQ's text), which jobs (JSON: RQ's `statuses`, `task`, `queue`, and `since`
#       as RQ writes it; what is left out does not matter), …
# fits(job's key): whether it is one of those; nil where its hash does not say of which task it is
# (another program's, or a former version's), which has to be found out otherwise.
_FITS = """
now, stamp = tonumber(ARGV[1]), ARGV[2]
local wanted = cjson.decode(ARGV[3])

local function fits(job)
    local f = redis.call('HMGET', job, 'status', 'origin', 'enqueued_at', 'task')
    if not f[1] or not wanted.statuses[f[1]] or not f[2]
            or (wanted.queue and f[2] ~= wanted.queue)
            or (wanted.since and f[3] and f[3] ~= '' and f[3] < wanted.since) then
        return false
    elseif wanted.task and not f[4] then
        return nil
    end
    return not wanted.task or f[4] == wanted.task
end
"""

# For each job that fits. What can't be done, over what somebody else wrote, must not hinder others.
# ARGV: …, how long canceled jobs are kept, by whom they are canceled, ids
# → {ids of those done, number of those left as they are, ids of those that run, ids of those of
#   which it is unknown whether they fit}
_EACH = """
local done, left, running, unknown = {}, 0, {}, {}
for i = 6, #ARGV do
    local id = ARGV[i]
    local fit = fits(key_of(id))
    if fit then
        local _, did = pcall(act, id, redis.call('HGET', key_of(id), 'origin'))
        if did == 'told to stop by this call' then
            table.insert(running, id)
        elseif did == 'canceled by this call' or did == 'queued by this call' then
            table.insert(done, id)
        else
            left = left + 1
        end
    elseif fit == nil then
        table.insert(unknown, id)
    end
end
return {done, left, running, unknown}
"""

_CANCEL_EACH = (
    CANCEL
    + _FITS
    + """
local function act(id, queue)
    local keys = {}
    for i, kind in ipairs({'queue', 'scheduled', 'canceled', 'deferred', 'ready'}) do
        keys[i] = prefix .. ':' .. kind .. ':' .. queue
    end
    return cancel(id, keys, ARGV[4], ARGV[5])
end
"""
    + _EACH
)

# The enqueuer lists one interval for each retry, so their number is the policy's.
_RETRY_EACH = (
    RETRY
    + _FITS
    + """
local function act(id, queue)
    local intervals = redis.call('HGET', key_of(id), 'retry_intervals')
    local retries = intervals and #cjson.decode(intervals) or 0
    return retry(id, prefix .. ':failed:' .. queue, retries > 0 and retries or '')
end
"""
    + _EACH
)

# KEYS: queue, canceled registry
# ARGV: …, how long canceled jobs are kept, by whom they are canceled, how many at the queue's end
#       to leave out, most to look at
# → {how many were canceled, how many were looked at}
_SWEEP = (
    SWEEP
    + _FITS
    + """
local function queued_and_fits(id)
    return fits(key_of(id))
end
return sweep(KEYS[1], KEYS[2], ARGV[6], ARGV[7], queued_and_fits, ARGV[4], ARGV[5])
"""
)


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of the failed jobs that fitted."""

    ids: list[str]  #: queued again, or waiting again for others
    skipped: int  #: left failed: what they depend on has failed, or another like them lives


class BulkActions:
    """Acts on all jobs that fit, so many at a time: Redis serves others in between."""

    def __init__(
        self, client: "redis.Redis", reader: JobReader, listing: JobListing, actions: JobActions
    ) -> None:
        self._client, self._reader, self._listing = client, reader, listing
        self._actions = actions
        self._cancel_each = client.register_script(_CANCEL_EACH)
        self._retry_each = client.register_script(_RETRY_EACH)
        self._sweep = client.register_script(_SWEEP)

    def retry(self, wanted: JobFilter) -> Retried:
        """Queue every failed job that fits again, with its parameters and all its retries.

        By age: first what others depend on.
        """
        failed = replace(wanted, status=Status.FAILED)
        ids: list[str] = []
        skipped = 0
        for answer in self._each(self._retry_each, failed, self._listing.ids(failed), by=""):
            ids += answer.done
            skipped += answer.left
        return Retried(ids, skipped)

    def cancel(self, wanted: JobFilter, *, by: str) -> Canceled:
        """Cancel every job that fits and has not ended; `by` tells people who did.

        Those that have not been queued come first, and those that run last, so that none slips
        through by moving on meanwhile. What a queue holds is swept off it, then looked at one by
        one for what was missed: of whose task its hash says nothing, or what moved on the queue.
        """
        done, stopping = 0, 0
        for status in (Status.SCHEDULED, Status.WAITING, Status.QUEUED, Status.RUNNING):
            if wanted.status not in (None, status):
                continue
            ids = self._listing.ids(replace(wanted, status=status))
            if status is Status.QUEUED:
                done += self._sweep_queues(wanted, by)
            for answer in self._each(self._cancel_each, wanted, ids, by):
                done += len(answer.done)
                for job_id in answer.running:  # its worker is told
                    with contextlib.suppress(JobNotFound, StatusConflict):  # it has just ended
                        at_once = self._actions.cancel(job_id, by=by)
                        done, stopping = done + at_once, stopping + (not at_once)
        return Canceled(done, stopping)

    def _each(
        self, script: Callable[..., Any], wanted: JobFilter, ids: Iterable[str], by: str
    ) -> "Iterator[_Answer]":
        in_order = sorted(ids)
        for start in range(0, len(in_order), AT_ONCE):
            answer = self._run(script, wanted, in_order[start : start + AT_ONCE], by)
            yield answer
            if fitting := self._read_fitting(wanted, answer.unknown):
                yield self._run(script, replace(wanted, task=None), fitting, by)

    def _run(
        self, script: Callable[..., Any], wanted: JobFilter, ids: Sequence[str], by: str
    ) -> "_Answer":
        done, left, running, unknown = script(args=[*_told(wanted), by, *ids])
        return _Answer(_texts(done), int(left), _texts(running), _texts(unknown))

    def _read_fitting(self, wanted: JobFilter, ids: Sequence[str]) -> list[str]:
        """Those of whose task only the whole record tells."""
        return [job.id for job in self._reader.read(ids) if job is not None and wanted.fits(job)]

    def _sweep_queues(self, wanted: JobFilter, by: str) -> int:
        told = _told(replace(wanted, status=Status.QUEUED))
        return sum(
            self._sweep_queue(queue, [*told, by])
            for queue in Queue.all(connection=self._client, serializer="json")
            if wanted.queue in (None, queue.name)
        )

    def _sweep_queue(self, queue: Queue, told: list[Any]) -> int:
        passed, done = 0, 0
        keys = [queue.key, CanceledJobRegistry(queue=queue).key]
        while True:
            some, seen = self._sweep(keys=keys, args=[*told, passed, AT_ONCE])
            done, passed = done + int(some), passed + int(seen) - int(some)
            if seen < AT_ONCE:
                return done


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a script did to some jobs."""

    done: list[str]
    left: int
    running: list[str]
    unknown: list[str]


def _told(wanted: JobFilter) -> list[Any]:
    """What the scripts are told first."""
    statuses = {
        rq.value: True
        for rq in JobStatus
        if status_of(rq) is wanted.status or (wanted.status is None and status_of(rq) not in FINAL)
    }
    given = {
        "statuses": statuses,
        "task": wanted.task,
        "queue": wanted.queue,
        "since": wanted.since and utcformat(wanted.since.astimezone(UTC)),
    }
    asked = json.dumps({name: value for name, value in given.items() if value is not None})
    moment = now()
    return [moment.timestamp(), utcformat(moment), asked, DEFAULT_FAILURE_TTL]


def _texts(ids: Sequence[bytes]) -> list[str]:
    return [as_text(job_id) for job_id in ids]
