"""Taking a job off a queue, in one step that no crash can fall into the middle of.

RQ pops the id first and records the execution later; a worker that dies between the two loses
the job (with several queues for good: rq#2236, rq#758). Here one script takes the first job of
the first queue that has one and records who runs it, so that a job is at every instant either
on its queue or in RQ's registry of started jobs, from where `recovery` brings it back.
"""

import json
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from redis import Redis
from rq.executions import WORKER_EXECUTIONS_KEY_TEMPLATE
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.registry import StartedJobRegistry
from rq.suspension import WORKERS_SUSPENDED
from rq.utils import as_text, now, utcformat

from jobs.policy import DEFAULT_FAILURE_TTL
from service.admission import ROOM
from service.cancellation import CANCELLATION
from service.execution.assignment import LARGEST_RESULT
from service.execution.scripts import ScriptCall

# RQ gives a running job a lease, and lets anybody who counts the registry (`rq info` does) fail
# the jobs whose lease ran out. Here the worker's own heartbeat is what says that a job is alive;
# the lease is only long enough to keep that clean-up away.
EXECUTION_TTL = 7 * 24 * 3600  # seconds; renewed at each heartbeat

LARGEST_GIVEN = (LARGEST_RESULT + 2) // 3 * 4  # bytes in base64; no more than one job may return
MOST_EXPIRED = 100  # jobs canceled by one claim, during which Redis serves nobody else

# KEYS: queue, started registry, for each queue in order of priority
# ARGV: execution id, worker name, now (Unix), now (RQ's text), ttl, worker's executions,
#       worker's lease, key that suspends all workers, '1' where the same claim was sent before, and
#       its reply was lost, most bytes of results in base64 that a job is given, how long canceled
#       jobs are kept, how many that have expired are canceled at once
# → nothing, 'suspended', 'more' where so many were passed over that the next claim has to go on, or
#   {number of the queue, job id, the job's hash, the results of the jobs
#   it depends on, each in base64, where it is to be given those}
#
# A claim that is sent again answers with the job that it took the first time: the worker lives,
# so nobody else would ever bring that job back.
#
# An id whose job is gone, or which is on the queue a second time (its job runs or has ended),
# is dropped: it has nothing left to run. One under a limit that holds no place (another program put
# it on the queue) has to wait for one. One fails where a result that it was to be given is gone, or
# where all together are too large. One that has expired is canceled.
_CLAIM = (
    CANCELLATION
    + ROOM
    + """
local execution, worker = ARGV[1], ARGV[2]
now, stamp = tonumber(ARGV[3]), ARGV[4]
local ttl = tonumber(ARGV[5])

-- false where it is gone
local function result_of(job)
    local latest = redis.call('XREVRANGE', prefix .. ':results:' .. job, '+', '-', 'COUNT', 1)[1]
    local result = {}
    for i = 1, latest and #latest[2] or 0, 2 do
        result[latest[2][i]] = latest[2][i + 1]
    end
    -- RQ keeps no value for None
    return result['type'] == '1' and (result['return_value'] or 'bnVsbA==')
end

-- The results that a job is to be given; or nil, and why it can't be
local function given_to(job)
    local f = redis.call('HMGET', job, 'result_as', 'results_as', 'dependency_ids')
    local given, size = {}, 0
    for i, other in ipairs((f[1] or f[2]) and cjson.decode(f[3]) or {}) do
        given[i] = result_of(other)
        if not given[i] then
            return nil, 'ResultGone: the result of the job ' .. other .. ', which this one depends '
                .. 'on and was to be given, has expired or was deleted'
        end
        size = size + #given[i]
        if size > tonumber(ARGV[10]) then
            return nil, 'ResultsTooLarge: the results that this job was to be given are together '
                .. 'larger than one may be. Write them to files or a store, and return where they '
                .. 'are'
        end
    end
    return given
end

local function taken_before()
    for _, key in ipairs(redis.call('SMEMBERS', ARGV[6])) do
        local id, its_execution = string.match(key, '^(.*):([^:]*)$')
        for i = 1, #KEYS, 2 do
            if its_execution == execution and redis.call('ZSCORE', KEYS[i + 1], key) then
                local job = key_of(id)
                return {(i + 1) / 2, id, redis.call('HGETALL', job), given_to(job) or false}
            end
        end
    end
end

local function take(i, id, given)
    local job, key = key_of(id), id .. ':' .. execution
    redis.call('HSET', job, 'status', 'started', 'worker_name', worker,
        'started_at', stamp, 'last_heartbeat', stamp, 'ended_at', '')
    redis.call('HINCRBY', job, 'attempts', 1)
    redis.call('PERSIST', job)
    redis.call('HSET', prefix .. ':execution:' .. key, 'id', execution, 'job_id', id,
        'created_at', now, 'last_heartbeat', now, 'worker_name', worker)
    redis.call('EXPIRE', prefix .. ':execution:' .. key, ttl)
    redis.call('ZADD', prefix .. ':executions:' .. id, now + ttl, execution)
    redis.call('EXPIRE', prefix .. ':executions:' .. id, ttl)
    redis.call('ZADD', KEYS[i + 1], now + ttl, key)
    redis.call('SADD', ARGV[6], key)
    redis.call('HSET', prefix .. ':worker:' .. worker, 'state', 'busy')
    -- Its record may have expired a moment ago; without an end it would live for ever.
    redis.call('EXPIRE', prefix .. ':worker:' .. worker, ARGV[7])
    count_taken(KEYS[i], 1)
    return {(i + 1) / 2, id, redis.call('HGETALL', job), given}
end

local before = ARGV[9] == '1' and taken_before()
if before then
    return before
end
if redis.call('EXISTS', ARGV[8]) == 1 then
    return 'suspended'
end
local held, late = 0, 0
for i = 1, #KEYS, 2 do
    local id = redis.call('LPOP', KEYS[i])
    while id do
        local job = prefix .. ':job:' .. id
        local f = redis.call('HMGET', job, 'status', 'rate_limit_key', 'rate_limit_concurrency',
            'expires_at')
        local done = f[1] == 'started' or f[1] == 'finished' or f[1] == 'canceled'
        if redis.call('EXISTS', job) == 0 or done then
            -- dropped
        elseif f[4] and expired(job) then
            file_canceled(id, prefix .. ':canceled:' .. string.sub(KEYS[i], #prefix + 8), ARGV[11],
                'Expired: no worker had started it by its expires_at')
            late = late + 1
        elseif not has_place(id, f[2], f[3]) then
            held = held + 1
        else
            local given, why = given_to(job)
            if given then
                return take(i, id, given)
            end
            fail(id, why)
            over(id)
        end
        if held == 5000 or late == tonumber(ARGV[12]) then
            return 'more'  -- others want to be served as well
        end
        id = redis.call('LPOP', KEYS[i])
    end
end
return false
"""
)


# Which nobody here reads, and RQ takes long to parse.
_DATES = {b"created_at", b"enqueued_at", b"started_at", b"ended_at", b"last_heartbeat"}


class Suspended(Exception):
    """`rq suspend` has told all workers to take no more."""


class ClaimedJob(Job):
    """RQ's, and what its hash holds of ours."""

    has_webhook = False


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that this worker, and nobody else, is to run."""

    queue: Queue
    job_id: str
    execution_id: str
    fields: dict[bytes, bytes]  #: the job's hash, as it was at that moment
    given: list[bytes] | None  #: the results that it gets, JSON in base64; None where they are gone

    def job(self, connection: Redis) -> ClaimedJob:
        """As RQ knows it; one whose record can't be read is a job all the same, and will fail."""
        job = ClaimedJob(connection=connection, serializer="json")
        job.has_webhook = b"webhook" in self.fields
        job._id = self.job_id  # as it is: RQ's setter refuses ids that other programs may have used
        job.origin = self.queue.name
        try:
            job.restore({name: self.fields[name] for name in self.fields.keys() - _DATES})
            self._give_results(job)
        except Exception as error:  # noqa: BLE001  # anybody may have written anything
            job.description = f"unreadable: {error}"
            job.data = b""
        return job

    def _give_results(self, job: Job) -> None:
        """Add its dependencies' results to its parameters; its task validates all of them."""
        if self.given is None:
            raise LookupError("a result that it was to be given has expired or was deleted")
        results = [json.loads(b64decode(result)) for result in self.given]
        if b"result_as" in self.fields:
            job.kwargs = {**job.kwargs, as_text(self.fields[b"result_as"]): results[0]}
        elif b"results_as" in self.fields:
            job.kwargs = {**job.kwargs, as_text(self.fields[b"results_as"]): results}


def function_path(job: Job) -> str | None:
    """The dotted path that the job names; None where its data can't be read."""
    try:
        return job.func_name
    except Exception:  # noqa: BLE001  # RQ wraps whatever a serializer raises; the horse will tell
        return None


class Claimer:
    """Takes jobs for one worker."""

    def __init__(self, connection: Redis, worker_name: str, lease: int) -> None:
        self._script = connection.register_script(_CLAIM)
        self._worker_name, self._lease = worker_name, lease
        self._unanswered: str | None = None  # the execution id of a claim whose reply was lost
        self.left_some = False  #: whether the last claim took none, and the queues may hold some

    @property
    def is_unanswered(self) -> bool:
        """Whether a claim was sent whose reply was lost; it may have taken a job."""
        return self._unanswered is not None

    def claim(self, queues: Sequence[Queue]) -> Claim | None:
        """The first job of the first queue that has one, or None where all are empty.

        None as well where so many on them may not run that others are to be served first:
        `left_some` says so. Raises `Suspended`.
        """
        return self.answered(queues, self.call(queues).run())

    def call(self, queues: Sequence[Queue]) -> ScriptCall:
        """What to ask of Redis, to be sent with something else; `answered` reads the answer."""
        sent_before = self._unanswered is not None
        self._unanswered = self._unanswered or uuid4().hex
        moment = now()
        return ScriptCall(
            self._script,
            [key for queue in queues for key in (queue.key, StartedJobRegistry(queue=queue).key)],
            [
                self._unanswered,
                self._worker_name,
                moment.timestamp(),
                utcformat(moment),
                EXECUTION_TTL,
                WORKER_EXECUTIONS_KEY_TEMPLATE.format(self._worker_name),
                self._lease,
                WORKERS_SUSPENDED,
                int(sent_before),
                LARGEST_GIVEN,
                DEFAULT_FAILURE_TTL,
                MOST_EXPIRED,
            ],
        )

    def answered(self, queues: Sequence[Queue], taken: Any) -> Claim | None:
        """The job that the script's answer tells of. Raises `Suspended`."""
        execution_id, self._unanswered = self._unanswered, None
        self.left_some = taken == b"more"
        if taken == b"suspended":
            raise Suspended
        if not taken or self.left_some or execution_id is None:
            return None
        number, job_id, flat, given = taken
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        return Claim(queues[number - 1], as_text(job_id), execution_id, fields, given)


# Kept beside the script, which spells these out: a change in RQ's names must fail loudly.
assert (JobStatus.STARTED, JobStatus.FINISHED, JobStatus.CANCELED) == (
    "started",
    "finished",
    "canceled",
)
