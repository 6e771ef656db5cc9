"""Enqueuing what is scheduled: one job for each tick, however many hosts run schedulers.

Each scheduler process looks once a second, and where something is due asks to lead. The one that
does holds a lock with the number of its term; every tick is enqueued by a script that looks whether
this lock still stands and the tick is still to come, and writes which tick comes next together with
the job. So a leader that wakes up late can do no harm, one that dies leaves nothing half done, and
what nobody was there for is seen by the next. The clock is Redis's, the same for all.
"""

import hashlib
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis
from rq.scripts import release_lock
from rq.utils import as_text

from jobs import Task
from jobs.catalogue import Catalogue
from jobs.errors import UnknownTask
from jobs.schedule import Schedule
from service.schedule_store import DEFINITIONS, LAST, NEXT, Definition, ScheduleStore
from service.submission import ENQUEUE, Submission, enqueue_arguments, job_id_at, job_of
from service.tracing.spans import active_tracer, submitting

LEADER, TERMS = "paddock:schedules:leader", "paddock:schedules:terms"
LEADER_TTL = 10  # seconds until another takes over from a leader that died
MISSED_AFTER = timedelta(seconds=60)  # lateness from which on a tick counts as missed
MOST_MISSED = 1_000  # ticks of one schedule that `missed="all"` makes up for, the latest
MOST_AT_ONCE = 500  # jobs enqueued before the scheduler looks after its other work
SECOND = timedelta(seconds=1)

# KEYS: leader, terms, next ticks
# ARGV: this scheduler's name, lock ttl
# → nothing where nothing is due or another leads, else: the lock's value, now (Unix), and names
#   with their due ticks
_LEAD = """
local now = redis.call('TIME')[1]
local due = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'WITHSCORES')
if #due == 0 then
    return false
end
local held = redis.call('GET', KEYS[1])
if not held then
    held = ARGV[1] .. ' ' .. redis.call('INCR', KEYS[2])
elseif string.sub(held, 1, #ARGV[1] + 1) ~= ARGV[1] .. ' ' then
    return false
end
redis.call('SET', KEYS[1], held, 'EX', ARGV[2])
return {held, now, due}
"""

# KEYS: leader, definitions, next ticks, last ticks, then those of `enqueue` where there is a job
# ARGV: the lock's value, name, definition, tick that was to come, the one that comes then, tick
#       that the job is for, then those of `enqueue`
# → what was done
_TICK = f"""{ENQUEUE}
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return 'refused: no longer the leader'
end
if redis.call('HGET', KEYS[2], ARGV[2]) ~= ARGV[3]
        or tonumber(redis.call('ZSCORE', KEYS[3], ARGV[2])) ~= tonumber(ARGV[4]) then
    return 'refused: changed meanwhile'
end
redis.call('ZADD', KEYS[3], ARGV[5], ARGV[2])
if not KEYS[5] then
    return 'passed over'
end
local made = enqueue(5, 7)
if type(made) == 'table' then  -- a unique task, whose job of before still waits or runs
    redis.call('HSET', KEYS[4], ARGV[2], ARGV[6] .. ' ' .. made[2])
    return made[1]
end
redis.call('HSET', KEYS[4], ARGV[2], ARGV[6] .. ' ' .. ARGV[7])
return made == 1 and 'enqueued' or 'there already'
"""

logger = logging.getLogger("paddock.scheduler")


def due_ticks(schedule: Schedule, pending: datetime, now: datetime) -> list[datetime]:
    """The ticks to enqueue now, oldest first, where `pending` is the first that nobody took.

    Late by no more than `MISSED_AFTER` is not missed: a new leader may have had to be found.
    """
    rhythm, before = schedule.rhythm(), pending - SECOND
    prompt = list(rhythm.ticks(max(before, now - MISSED_AFTER), now))
    match schedule.missed:
        case "skip":
            return prompt
        case "once":
            return prompt or rhythm.latest(before, now, 1)
        case "all":
            return rhythm.latest(before, now, MOST_MISSED)


def tick_job_id(name: str, tick: datetime) -> str:
    """The same for the same tick on every host. Like all job ids it sorts by its time."""
    moment = int(tick.timestamp())
    noise = hashlib.sha256(f"{name} {moment}".encode()).digest()
    return job_id_at(moment * 1000, noise[:10])


class Ticker:
    """One scheduler process's part in it. What it does raises `RedisError` while Redis is away."""

    def __init__(self, connection: Redis, name: str, catalogue: Catalogue) -> None:
        self._connection, self._name, self._catalogue = connection, name, catalogue
        self._store = ScheduleStore(connection)
        self._lead_script = connection.register_script(_LEAD)
        self._tick_script = connection.register_script(_TICK)
        self._has_entered = False
        self._lock = ""  #: the leader lock's value, in the last term that this one led
        self._told = set[str]()  #: definitions whose fault has been logged

    def tick(self) -> None:
        """Enqueue what is due, where it is this process that leads."""
        if not self._has_entered:
            enter_declared(self._store, self._catalogue)
            self._has_entered = True
        room = MOST_AT_ONCE
        now, due = self._lead()
        for name, pending in due:
            room -= self._catch_up(name, pending, now, room)
            if room <= 0:
                return  # the rest is as due a second later

    def stop(self) -> None:
        """Have another lead at once, rather than when the lock has expired."""
        if self._lock:
            release_lock(self._connection, LEADER, self._lock)

    def _lead(self) -> tuple[datetime, list[tuple[str, datetime]]]:
        """Redis's time, and what is due; nothing where there is nothing, or another leads."""
        answer = self._lead_script(keys=[LEADER, TERMS, NEXT], args=[self._name, LEADER_TTL])
        if answer is None:
            return datetime.now(UTC), []
        lock, now, due = answer
        self._lock = as_text(lock)
        pairs = zip(due[::2], due[1::2], strict=True)
        return _moment(now), [(as_text(name), _moment(tick)) for name, tick in pairs]

    def _catch_up(self, name: str, pending: datetime, now: datetime, room: int) -> int:
        """Enqueue the ticks of one schedule that are due, `room` at most; return how much it was.

        One that this host can't run counts for nothing, or such ones could fill all the room.
        """
        text = self._store.text(name)
        understood = self._understood(name, text)
        if understood is None:
            return 0
        task, schedule = understood
        due = due_ticks(schedule, pending, now)
        _tell_missed(name, schedule, pending, due, now)
        following = [*due[1:], schedule.rhythm().next(now)]
        if not due:
            self._write(name, text, pending, following[0], None)
            return 1
        for number, tick in enumerate(due[:room]):
            submission = Submission(
                task=task,
                parameters=schedule.parameters,
                meta={"schedule": name, "tick": tick.isoformat()},
            )
            if not self._write(name, text, pending, following[number], (tick, submission)):
                return number
            pending = following[number]
        return len(due[:room])

    def _understood(self, name: str, text: str) -> tuple[Task[..., Any], Schedule] | None:
        """The task and when; None, and a word in the log, where another host has to do it."""
        try:
            definition = Definition.read(name, text)
            return self._catalogue[definition.task], definition.schedule
        except (ValueError, UnknownTask) as error:
            if text and text not in self._told:
                logger.warning("The schedule %s waits, for this host can't run it: %s", name, error)
                self._told.add(text)
            return None

    def _write(
        self,
        name: str,
        text: str,
        pending: datetime,
        following: datetime,
        job: tuple[datetime, Submission] | None,
    ) -> bool:
        """Note what comes after `pending`, and enqueue the job with it; say whether it was done."""
        keys = [LEADER, DEFINITIONS, NEXT, LAST]
        args: list[Any] = [self._lock, name, text, _unix(pending), _unix(following)]
        if job is not None:
            tick, submission = job
            job_keys, job_args = self._made(submission, tick_job_id(name, tick))
            keys, args = keys + job_keys, [*args, _unix(tick), *job_args]
        done = as_text(self._tick_script(keys=keys, args=args))
        if done.startswith("refused"):
            logger.warning("The schedule %s at %s: %s", name, pending.isoformat(), done)
        return not done.startswith("refused")

    def _made(self, submission: Submission, job_id: str) -> tuple[list[str], list[Any]]:
        """What enqueues it; it begins a trace."""
        if tracer := active_tracer():
            with submitting(tracer, submission, **{"messaging.message.id": job_id}) as (_, traced):
                submission = traced
        return enqueue_arguments(job_of(submission, job_id, self._connection), submission)


def enter_declared(store: ScheduleStore, catalogue: Catalogue) -> None:
    """Write down the schedules that tasks declare, and strike those that they no longer do.

    Of tasks that are not in this catalogue nothing is known: another host may declare them.
    """
    declared = {
        task.name: Definition(task.name, task.name, task.schedule, "task")
        for task in catalogue
        if task.schedule is not None
    }
    for definition in declared.values():
        while (over := store.text(definition.name)) != definition.text():
            if store.put(definition, over=over) and over:
                logger.warning("The schedule %s is now as its task declares it", definition.name)
    known = {task.name for task in catalogue}
    for entry in store.entries():
        name, found = entry.definition.name, entry.definition
        if found.source == "task" and found.task in known and name not in declared:
            store.remove(name, over=store.text(name))


def _tell_missed(
    name: str, schedule: Schedule, pending: datetime, due: list[datetime], now: datetime
) -> None:
    if pending <= now - MISSED_AFTER:
        logger.warning(
            "The schedule %s missed its ticks since %s: missed=%r enqueues %d now",
            name,
            pending.isoformat(),
            schedule.missed,
            len(due),
        )


def _moment(unix: bytes | str) -> datetime:
    return datetime.fromtimestamp(int(float(unix)), UTC)


def _unix(moment: datetime) -> int:
    return int(moment.timestamp())
