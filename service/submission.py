"""A call of a task on its way to becoming an RQ job: what an accepted one writes to Redis.

It stands between the broker, which enqueues what callers submit, and the execution side, which
enqueues what is scheduled. Neither may import the other, and both must write the same.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from rq import Retry
from rq.job import Dependency, Job, JobStatus
from rq.queue import Queue
from rq.registry import ScheduledJobRegistry
from rq.serializers import JSONSerializer
from rq.utils import get_call_string, now

from jobs import Task
from service.admission import ROOM, UNIQUE, UNIQUE_TTL
from service.tally import TALLY
from service.waiting import WAITING

LONGEST_ARGUMENT_SHOWN = 80  # characters, in the job's one-line description

# A Lua function for scripts that enqueue. `key` and `arg` are where its own KEYS and ARGV begin:
# KEYS: job, queue, set of queues, scheduled registry
# ARGV: job id, 'RPUSH' | 'LPUSH' | 'ZADD' | 'WAIT', Unix time for ZADD, most jobs that may wait
#       (0: any), record of the Idempotency-Key ('' for none), its fingerprint, its ttl, lock of a
#       unique task ('' for none), its ttl, then the job's hash
# → 1, or 0 where this submission was enqueued before; or what came of it instead, and why:
#   {'replayed', job} {'reused', job} {'duplicate', job} {'full', seconds until there is room}
#   {'unknown', job that it was to depend on}
#   With WAIT the status that the job has come to is a second value.
#
# What RQ's enqueue writes, in one step that can be sent again when its reply was lost: RQ's own
# pushes a job twice then. (A job that has meanwhile run, and whose result_ttl is over, runs again.)
ENQUEUE = (
    WAITING
    + UNIQUE
    + ROOM
    + TALLY
    + """
-- Jobs that wait for others on this queue, and for a place under the limit that these fields name.
local function set_aside(queue, fields)
    local count = redis.call('ZCARD', prefix .. ':deferred:' .. string.sub(queue, #prefix + 8))
    for i = fields, #ARGV, 2 do
        if ARGV[i] == 'rate_limit_key' then
            count = count + redis.call('ZCARD', prefix .. ':rl:' .. ARGV[i + 1] .. ':rate_limited')
        end
    end
    return count
end

local function enqueue(key, arg)
    local job, queue, id, command = KEYS[key], KEYS[key + 1], ARGV[arg], ARGV[arg + 1]
    local record, fingerprint, lock = ARGV[arg + 4], ARGV[arg + 5], ARGV[arg + 7]
    if redis.call('EXISTS', job) == 1 then
        return 0, redis.call('HGET', job, 'status')
    end

    local known = record ~= '' and redis.call('GET', record)
    if known then
        local print, by, kept = string.match(known, '^(%S+) (%S+) (%S+)$')
        if by == id then  -- the same submission, sent again
            return kept == id and 0 or {'duplicate', kept}
        end
        return {print == fingerprint and 'replayed' or 'reused', kept}
    end
    local function remember(kept)
        if record ~= '' then
            redis.call('SET', record, table.concat({fingerprint, id, kept}, ' '),
                'EX', ARGV[arg + 6])
        end
    end

    local live = lock ~= '' and holder(lock, string.sub(job, 1, -#id - 1))
    if live then
        remember(live)
        return {'duplicate', live}
    end
    local limit = tonumber(ARGV[arg + 3])
    if limit > 0 then
        local scheduled = command == 'ZADD'
        local waiting = scheduled and redis.call('ZCARD', KEYS[key + 3])
            or redis.call('LLEN', queue)
        if command == 'WAIT' then
            waiting = waiting + set_aside(queue, arg + 9)
        end
        local wait = wait_for_room(queue, waiting, 1, limit)
        if wait then
            return {'full', wait}
        end
    end

    for i = arg + 9, command == 'WAIT' and #ARGV or 0, 2 do
        for _, other in ipairs(ARGV[i] == 'dependency_ids' and cjson.decode(ARGV[i + 1]) or {}) do
            if redis.call('EXISTS', key_of(other)) == 0 then
                return {'unknown', other}
            end
        end
    end

    remember(id)
    if lock ~= '' then
        redis.call('SET', lock, id, 'EX', ARGV[arg + 8])
    end
    redis.call('HSET', job, unpack(ARGV, arg + 9))
    tally_submitted(redis.call('HGET', job, 'task'), 1)
    redis.call('SADD', KEYS[key + 2], queue)
    if command == 'WAIT' then
        local time = redis.call('TIME')
        now = time[1] + time[2] / 1000000  -- first come, first served
        stamp = redis.call('HGET', job, 'enqueued_at')
        await(id)
        return 1, redis.call('HGET', job, 'status')
    elseif command == 'ZADD' then
        redis.call('ZADD', KEYS[key + 3], ARGV[arg + 2], id)
    else
        redis.call(command, queue, id)
    end
    announce(job, id)
    return 1
end
"""
)


@dataclass(frozen=True, slots=True)
class Once:
    """A caller's Idempotency-Key: of all submissions that bear it one becomes a job."""

    record: str  #: the key in Redis, which tells callers and tasks apart
    fingerprint: str  #: of what was asked for; the same key with another one is refused
    ttl: int  #: seconds it is remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A call of a task that has passed validation. Durations in seconds."""

    task: Task[..., Any]
    parameters: dict[str, Any]
    queue: str | None = None  #: the task's own where not given
    timeout: int | None = None
    result_ttl: int | None = None
    at_front: bool = False
    at: datetime | None = None  #: not before this time
    expires: datetime | None = None  #: canceled if no worker has started it by then
    meta: dict[str, Any] = field(default_factory=dict)  #: RQ's, which the task can read
    depends_on: tuple[str, ...] = ()  #: ids of jobs that have to end before it is queued
    on_dependency_failure: Literal["fail", "run"] = "fail"  #: what it does if one does not finish
    result_as: str | None = None  #: the parameter that gets the only dependency's result
    results_as: str | None = None  #: or that gets the results of all, in the order of depends_on
    webhook: str | None = None  #: URL that is told how it ended; the task's own where not given
    once: Once | None = None
    request_id: str | None = None  #: of the HTTP request that it came by, to be found in the logs
    trace: Mapping[str, str] = field(default_factory=dict)  #: W3C's headers, of whose trace it is
    queue_limit: int = 0  #: refused where so many wait already; 0 for no limit

    @property
    def due(self) -> datetime | None:
        """The next whole second, in UTC: RQ's schedule counts in those."""
        if self.at is None:
            return None
        return (self.at + timedelta(microseconds=999_999)).astimezone(UTC).replace(microsecond=0)


def job_id_at(milliseconds: int, noise: bytes) -> str:
    """A UUID of version 7 (RFC 9562 §5.7) of this Unix time, with these ten bytes.

    Such ids sort by their time, which is how jobs are listed.
    """
    value = milliseconds << 80 | int.from_bytes(noise)
    value = value & ~(0xF << 76) | 0x7 << 76  # version
    value = value & ~(0x3 << 62) | 0x2 << 62  # variant
    return str(uuid.UUID(int=value))


def job_of(submission: Submission, job_id: str, connection: Any) -> Job:
    """The job as it will be written. RQ wants a connection for it, and leaves it unused."""
    job = unlimited_job_of(submission, job_id, connection)
    limit = submission.task.limit(submission.parameters)
    if limit is not None:
        job.rate_limit_key, job.rate_limit_concurrency = limit
    return job


def unlimited_job_of(submission: Submission, job_id: str, connection: Any) -> Job:
    """The same, without the limit that it is under, which its parameters may decide."""
    task, policy = submission.task, submission.task.policy
    ttl = submission.result_ttl
    job = Job.create(
        task.path,
        kwargs=submission.parameters,
        connection=connection,
        id=job_id,
        origin=submission.queue or policy.queue,
        timeout=submission.timeout or policy.timeout,
        result_ttl=policy.result_ttl if ttl is None else ttl,
        failure_ttl=policy.failure_ttl,
        description=description_of(task, submission.parameters),
        retry=_rq_retry(task),
        meta=submission.meta or None,
        status=JobStatus.SCHEDULED if submission.at else JobStatus.QUEUED,
        depends_on=_dependency(submission),
    )
    job.serializer = JSONSerializer  # given by name, RQ would check it anew for each job: 10 µs
    job.enqueued_at = now()
    may_wait = submission.at or submission.depends_on or policy.concurrency
    if submission.at_front and may_wait:
        job.enqueue_at_front = True
    return job


def enqueue_arguments(job: Job, submission: Submission) -> tuple[list[str], list[Any]]:
    """KEYS and ARGV of `enqueue`."""
    command, moment = ("LPUSH" if submission.at_front else "RPUSH"), 0
    if submission.due:
        command, moment = "ZADD", int(submission.due.timestamp())
    elif _waits(job):
        command = "WAIT"
    own = job_fields(job, submission)
    lock = own.get("unique_lock", "")
    delay = max(0, moment - int(now().timestamp())) if lock else 0
    once = submission.once or Once("", "", 0)
    fields = [part for entry in own.items() for part in entry]
    # As RQ's Queue and registry would say, which take 20 µs to make.
    queue = Queue.redis_queue_namespace_prefix + job.origin
    scheduled = ScheduledJobRegistry.key_template.format(job.origin)
    keys = [job.key, queue, Queue.redis_queues_keys, scheduled]
    options = [once.record, once.fingerprint, once.ttl, lock, UNIQUE_TTL + delay]
    return keys, [job.id, command, moment, submission.queue_limit, *options, *fields]


def digest(*parts: Any) -> str:
    """Short, and the same for the same JSON data, whatever the order of its members."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def unique_lock(submission: Submission) -> str:
    """The key in Redis that names the live job of this task with these parameters."""
    return f"paddock:unique:{submission.task.name}:{digest(submission.parameters)}"


def job_fields(job: Job, submission: Submission) -> dict[str, Any]:
    """The job's hash: RQ's fields, and ours, which RQ leaves alone.

    Ours are for the scripts that move the job and record its end.
    """
    policy = submission.task.policy
    ours: dict[str, Any] = {"task": submission.task.name, "max_crashes": policy.most_crashes}
    if submission.expires:
        ours["expires_at"] = submission.expires.timestamp()
    if submission.depends_on:
        ours["on_dependency_failure"] = submission.on_dependency_failure
    if submission.result_as:
        ours["result_as"] = submission.result_as
    if submission.results_as:
        ours["results_as"] = submission.results_as
    if url := submission.webhook or policy.webhook:
        ours["webhook"] = json.dumps({"url": url, "task": submission.task.name})
    if submission.request_id:
        ours["request_id"] = submission.request_id
    if policy.unique:
        ours["unique_lock"] = unique_lock(submission)
    return {**job.to_dict(), **ours, **submission.trace}


def _waits(job: Job) -> bool:
    """Whether it may have to wait for more than its time and a worker."""
    return bool(job._dependency_ids) or job.has_rate_limit


def _dependency(submission: Submission) -> Dependency | None:
    if not submission.depends_on:
        return None
    ids, tolerant = submission.depends_on, submission.on_dependency_failure == "run"
    return Dependency(jobs=list(dict.fromkeys(ids)), allow_failure=tolerant)


def _rq_retry(task: Task[..., Any]) -> Retry | None:
    retry = task.policy.retry
    return Retry(max=retry.max, interval=retry.intervals()) if retry else None


def description_of(task: Task[..., Any], parameters: dict[str, Any]) -> str:
    """The call in one line, as RQ's tools and the logs show the job."""
    call = get_call_string(task.name, (), parameters, max_length=LONGEST_ARGUMENT_SHOWN)
    return str(call)
