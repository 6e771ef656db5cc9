"""The schedules as Redis keeps them: what is due when, and what was enqueued last.

It stands between the broker, through which callers make schedules, and the execution side, which
enters those that tasks declare and enqueues what is due. Neither may import the other.

Every change is one script that is refused where what it was decided on has changed meanwhile.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

import redis

from jobs.schedule import Schedule

DEFINITIONS = "paddock:schedules"  # hash: name → definition, in JSON
NEXT = "paddock:schedules:next"  # sorted set: name, by the Unix time of its next tick
LAST = "paddock:schedules:last"  # hash: name → "<Unix time of the last tick> <its job's id>"

Source = Literal["task", "api"]

# KEYS: definitions, next, last
# ARGV: name, definition that was found or '', new definition or '' to delete it, next tick or ''
#       to leave that as it is
# → 1, or 0 where another definition was found
_CHANGE = """
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then
    return 0
end
if ARGV[3] == '' then
    redis.call('HDEL', KEYS[1], ARGV[1])
    redis.call('ZREM', KEYS[2], ARGV[1])
    redis.call('HDEL', KEYS[3], ARGV[1])
else
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
    if ARGV[4] ~= '' then
        redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1])
    end
end
return 1
"""


@dataclass(frozen=True, slots=True)
class Definition:
    """A schedule by name: which task, when, and who said so."""

    name: str
    task: str  #: its name in the catalogue
    schedule: Schedule
    source: Source

    def text(self) -> str:
        """As it is kept."""
        fields = {"task": self.task, "source": self.source, **asdict(self.schedule)}
        return json.dumps(fields, sort_keys=True)

    @classmethod
    def read(cls, name: str, text: str) -> "Definition":
        """Raises `ValueError` where this is no definition, or one of a later version's."""
        try:
            fields = json.loads(text)
            task, source = str(fields.pop("task")), fields.pop("source")
            return cls(name, task, Schedule(**fields), source)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no schedule: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Entry:
    """A schedule and where it stands. Times are UTC."""

    definition: Definition
    next_at: datetime | None
    last_at: datetime | None  #: the last tick that a job was enqueued for
    last_job: str | None  #: that job's id


class ScheduleStore:
    """Reads and changes schedules. For any number of processes at once."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._change = client.register_script(_CHANGE)

    def text(self, name: str) -> str:
        """The definition as it is kept; empty where there is none."""
        return _text(self._client.hget(DEFINITIONS, name))

    def entry(self, name: str) -> Entry | None:
        """None where there is no such schedule, or none that this version can read."""
        with self._client.pipeline() as pipe:
            pipe.hget(DEFINITIONS, name)
            pipe.zscore(NEXT, name)
            pipe.hget(LAST, name)
            text, score, last = pipe.execute()
        return _entry(name, text, score, last)

    def entries(self) -> list[Entry]:
        """All that can be read, by name."""
        with self._client.pipeline() as pipe:
            pipe.hgetall(DEFINITIONS)
            pipe.zrange(NEXT, 0, -1, withscores=True)
            pipe.hgetall(LAST)
            texts, scored, last = pipe.execute()
        scores = dict(scored)
        found = (
            _entry(_text(name), texts[name], scores.get(name), last.get(name))
            for name in sorted(texts)
        )
        return [entry for entry in found if entry is not None]

    def put(self, definition: Definition, *, over: str) -> bool:
        """Write it over the definition that has this text ('' for none); say whether it was there.

        A new rhythm begins now; with the same one as before, no tick is lost or comes twice.
        """
        tick = ""
        if not over or not _same_rhythm(definition, over):
            tick = str(int(definition.schedule.rhythm().next(self.now()).timestamp()))
        return self._changed(definition.name, over, definition.text(), tick)

    def remove(self, name: str, *, over: str) -> bool:
        """Delete the definition that has this text; say whether it was there."""
        return self._changed(name, over, "", "")

    def now(self) -> datetime:
        """By Redis's clock, as every host's may be a little off."""
        seconds, microseconds = self._client.time()
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds)

    def _changed(self, name: str, *args: str) -> bool:
        return bool(self._change(keys=[DEFINITIONS, NEXT, LAST], args=[name, *args]))


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""


def _entry(name: str, text: bytes | None, score: float | None, last: bytes | None) -> Entry | None:
    try:
        definition = Definition.read(name, _text(text))
    except ValueError:
        return None
    tick, _, job_id = _text(last).partition(" ")
    return Entry(
        definition,
        next_at=None if score is None else datetime.fromtimestamp(score, UTC),
        last_at=datetime.fromtimestamp(int(tick), UTC) if tick else None,
        last_job=job_id or None,
    )


def _same_rhythm(definition: Definition, text: str) -> bool:
    try:
        before = Definition.read(definition.name, text).schedule
    except ValueError:
        return False
    return (before.cron, before.timezone) == (
        definition.schedule.cron,
        definition.schedule.timezone,
    )
