"""The line that a job stands in: what is before it, who serves it, and how long that takes.

One script looks at all of it, in one round trip and at one moment. It never reads a whole queue: of
a long one it takes a sample of the jobs, evenly, to tell of which tasks they are.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import redis
from rq.defaults import RQ_KEY_PREFIX
from rq.executions import WORKER_EXECUTIONS_KEY_TEMPLATE
from rq.suspension import WORKERS_SUSPENDED
from rq.utils import utcparse
from rq.worker import Worker
from rq.worker_registration import REDIS_WORKER_KEYS

from service.broker.progress import Progress, read_progress
from service.history import LATEST, read_mean
from service.pausing import PAUSED

SAMPLED = 100  # jobs of each queue whose task is looked at
SEARCHED = 5_000  # jobs at each end of a queue among which one is looked for by its id
NAMED = 3  # jobs that are taken next, told by their ids

_WORKERS = Worker.redis_worker_namespace_prefix
_EXECUTIONS = WORKER_EXECUTIONS_KEY_TEMPLATE.split("{0}")

# ARGV: job id ('' for none), queues…
# → JSON; for each of these queues and each that goes before one of them at some worker, all that
#   is asked for. With a job the sample of its queue is of what is before it.
#
# A job deep inside a long queue is looked for by the time at which it was queued, which grows from
# the front to the back (but for those that were put to the front): its place may be a few off.
_LOOK = f"""
local prefix, wanted, job_id = '{RQ_KEY_PREFIX}', {{}}, ARGV[1]
local function key_of(id)
    return prefix .. ':job:' .. id
end

local function by_time(key, length)
    local mine, low, high = redis.call('HGET', key_of(job_id), 'enqueued_at'), 0, length
    while mine and low < high do
        local middle = math.floor((low + high) / 2)
        local other = redis.call('LINDEX', key, middle)
        other = other and redis.call('HGET', key_of(other), 'enqueued_at')
        if other and other < mine then
            low = middle + 1
        else
            high = middle
        end
    end
    return low
end

local function place_in(key)
    local length = redis.call('LLEN', key)
    return redis.call('LPOS', key, job_id, 'MAXLEN', {SEARCHED})
        or redis.call('LPOS', key, job_id, 'RANK', -1, 'MAXLEN', {SEARCHED})
        or (length > 2 * {SEARCHED} and by_time(key, length))
end

local function sample(key, length)
    local tasks, step = {{}}, math.max(length / {SAMPLED}, 1)
    local first = step == 1 and redis.call('LRANGE', key, 0, length - 1) or nil
    for i = 1, math.min(length, {SAMPLED}) do
        local id = first and first[i]
            or not first and redis.call('LINDEX', key, math.floor((i - 1) * step))
        tasks[i] = id and redis.call('HGET', key_of(id), 'task') or ''
    end
    return tasks
end

local function split(text)
    local names = {{}}
    for name in string.gmatch(text or '', '[^,]+') do
        names[#names + 1] = name
    end
    return names
end

local answer = {{queues = {{}}, workers = {{}}, means = {{}}}}
local time = redis.call('TIME')
answer.now = time[1] + time[2] / 1000000
answer.suspended = redis.call('EXISTS', '{WORKERS_SUSPENDED}')
answer.paused = redis.call('SMEMBERS', '{PAUSED}')
for i = 2, #ARGV do
    wanted[ARGV[i]] = true
end

local serving = {{}}
for _, key in ipairs(redis.call('SMEMBERS', '{REDIS_WORKER_KEYS}')) do
    local f = redis.call('HMGET', key, 'pid', 'death', 'queues', 'room')
    if f[1] and not f[2] then
        local name = string.sub(key, #'{_WORKERS}' + 1)
        local worker = {{name = name, queues = split(f[3]), room = tonumber(f[4] or 1),
            running = {{}}}}
        table.insert(answer.workers, worker)
        for _, name in ipairs(worker.queues) do
            if wanted[name] then
                serving[#serving + 1] = worker
                break
            end
        end
    end
end
local pairs_of = {{}}
for _, worker in ipairs(serving) do
    for _, name in ipairs(worker.queues) do
        wanted[name] = true
    end
    local executions = '{_EXECUTIONS[0]}' .. worker.name .. '{_EXECUTIONS[1]}'
    for _, entry in ipairs(redis.call('SMEMBERS', executions)) do
        local id = string.match(entry, '^(.*):[^:]*$') or entry
        local f = redis.call('HMGET', key_of(id), 'task', 'origin', 'started_at', 'progress')
        table.insert(worker.running, {{id = id, task = f[1] or '', queue = f[2] or '',
            started_at = f[3], progress = f[4]}})
        pairs_of[(f[1] or '') .. ' ' .. (f[2] or '')] = true
    end
end

local own = job_id ~= '' and redis.call('HMGET', key_of(job_id), 'status', 'origin', 'task')
if own and own[2] then
    pairs_of[(own[3] or '') .. ' ' .. own[2]] = true
end
for name in pairs(wanted) do
    local key = prefix .. ':queue:' .. name
    local length = redis.call('LLEN', key)
    if own and own[1] == 'queued' and own[2] == name then
        local place = place_in(key)
        if place then
            answer.place, length = place, place
        end
    end
    answer.queues[name] = {{length = length, tasks = sample(key, length),
        next = redis.call('LRANGE', key, 0, math.min(length, {NAMED}) - 1)}}
    if length == 0 then
        answer.queues[name].next = {{}}
    end
    for _, task in ipairs(answer.queues[name].tasks) do
        pairs_of[task .. ' ' .. name] = true
    end
end
for pair in pairs(pairs_of) do
    answer.means[pair] = redis.call('HGET', '{LATEST}', pair)
end
return cjson.encode(answer)
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits on a queue, or before a job on it."""

    length: int
    tasks: list[str]  #: of some of them, from the front to the back; '' where unknown
    next: list[str]  #: the ids of the first few


@dataclass(frozen=True, slots=True)
class Running:
    """What a worker runs."""

    id: str
    task: str
    queue: str
    elapsed: float  #: seconds
    fraction: float | None  #: of its work that was done
    at: float  #: seconds that it had run when it said so

    @classmethod
    def since(
        cls, started: float, now: float, progress: Progress | None, id: str, task: str, queue: str
    ) -> Self:
        """With the times in Unix seconds."""
        fraction, at = (progress.fraction, progress.at.timestamp()) if progress else (None, 0.0)
        return cls(id, task, queue, max(now - started, 0.0), fraction, max(at - started, 0.0))


@dataclass(frozen=True, slots=True)
class Serving:
    """A living worker."""

    name: str
    queues: list[str]  #: in order of priority
    room: int  #: jobs that it runs at once
    running: list[Running]  #: unless it serves none of the queues that were asked for


@dataclass(frozen=True, slots=True)
class Line:
    """One look at it."""

    now: datetime  #: by Redis's clock
    suspended: bool  #: no worker takes anything: `rq suspend`
    paused: frozenset[str]  #: queues that nobody is to serve
    place: int | None  #: of the job on its queue, from 0; None where it stands on none
    queues: dict[str, Waiting]
    workers: list[Serving]
    means: dict[tuple[str, str], float]  #: seconds lately, by task and queue

    def serving(self, queue: str) -> list[Serving]:
        """The workers that listen on it."""
        return [worker for worker in self.workers if queue in worker.queues]

    def is_held(self, queue: str) -> bool:
        """Whether nothing of it is taken for the moment, however many workers listen."""
        return self.suspended or queue in self.paused


class LineReader:
    """Looks at the line."""

    def __init__(self, client: "redis.Redis") -> None:
        self._script = client.register_script(_LOOK)

    def of_job(self, job_id: str, queue: str) -> Line:
        """What a job on this queue has before it."""
        return _read(self._script(args=[job_id, queue]))

    def of_queues(self, names: Iterable[str]) -> Line:
        """What the next job on any of them would have before it."""
        return _read(self._script(args=["", *names]))


def _read(answer: bytes) -> Line:
    told = json.loads(answer.decode(errors="replace"))  # ids may be anything
    now = told["now"]
    return Line(
        now=datetime.fromtimestamp(now, UTC),
        suspended=bool(told["suspended"]),
        paused=frozenset(_listed(told["paused"])),
        place=told.get("place"),
        queues={
            name: Waiting(each["length"], _listed(each["tasks"]), _listed(each["next"]))
            for name, each in dict(told["queues"]).items()
        },
        workers=[_worker(each, now) for each in _listed(told["workers"])],
        means={
            _pair(pair): mean
            for pair, text in dict(told["means"]).items()
            if (mean := read_mean(text or "")) is not None
        },
    )


def _pair(text: str) -> tuple[str, str]:
    task, _, queue = text.partition(" ")
    return task, queue


def _listed(value: Any) -> list[Any]:
    return list(value or ())  # Lua can't tell an empty list from an empty object


def _worker(told: dict[str, Any], now: float) -> Serving:
    running = [_running(each, now) for each in _listed(told["running"])]
    return Serving(told["name"], _listed(told["queues"]), told["room"], running)


def _running(told: dict[str, Any], now: float) -> Running:
    started, progress = _unix(told["started_at"]) or now, read_progress(told["progress"] or None)
    return Running.since(started, now, progress, told["id"], told["task"], told["queue"])


def _unix(text: Any) -> float | None:
    try:
        return utcparse(text).timestamp() if text else None
    except ValueError:  # anybody may have written anything
        return None
