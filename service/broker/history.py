"""Reading what has become of jobs over time: series for charts, and totals since ever."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import redis
from rq.utils import as_text

from service.history import (
    BOUNDS,
    LATEST,
    MEAN,
    MEAN_OF,
    MINUTE,
    OUTCOMES,
    RUN_SUM,
    RUNS,
    TOTALS,
    WAIT_SUM,
    WAITS,
    hours_key,
    minutes_key,
)

Span = Literal["hour", "day", "month"]
Kind = Literal["task", "queue"]

#: For each span the seconds of a slot, and how many there are; the last one is still going on.
SPANS: dict[Span, tuple[int, int]] = {"hour": (60, 60), "day": (900, 96), "month": (3600, 720)}

HOUR = 3600  # seconds
LATELY = 5  # minutes over which throughput is told

_COUNT = re.compile(r"([a-zA-Z])(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What became of jobs, or of their executions.

    A histogram has a count for each of `BOUNDS`, those that took no longer than this and longer
    than the one before, and a last one for the rest. It is empty where there is nothing to count.
    """

    finished: int  #: jobs
    failed: int
    canceled: int
    retried: int  #: executions that raised, died or were put back, and whose jobs went on
    run_seconds: float  #: of all executions together
    wait_seconds: float  #: on their queue until they were started, likewise
    runs: list[int]  #: histogram of the executions' durations
    waits: list[int]  #: and of their waits

    @property
    def ended(self) -> int:
        """Jobs that have come to their end, in whichever way."""
        return self.finished + self.failed + self.canceled


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot(Counts):
    """A piece of time."""

    at: datetime  #: its beginning, UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Total(Counts):
    """Of a task's jobs on one queue, since ever."""

    task: str | None  #: None for jobs of other programs, whose task is unknown
    queue: str


class History:
    """Reads what the workers' scripts have counted (`service.history`)."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client

    def series(self, kind: Kind | None, name: str, span: Span) -> list[Slot]:
        """The slots of the last hour, day or month, oldest first; of all jobs without a kind."""
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hkeys(LATEST)
            pipe.time()
            fields, (moment, _) = pipe.execute()
        pairs = [pair for pair in map(as_text, fields) if _fits(pair, kind, name)]
        step, count = SPANS[span]
        last = moment // step
        slots = {number: Counter[str]() for number in range(last - count + 1, last + 1)}
        for at, counts in self._counted(pairs, (last - count + 1) * step, moment, step):
            if at // step in slots:
                slots[at // step].update(counts)
        return [
            Slot(at=datetime.fromtimestamp(number * step, UTC), **_told(counts))
            for number, counts in slots.items()
        ]

    def totals(self) -> list[Total]:
        """For each task and queue on which its jobs were run."""
        with self._client.pipeline() as pipe:
            pipe.hgetall(LATEST)
            pipe.hgetall(TOTALS)
            latest, totals = pipe.execute()
        return [
            Total(
                task=as_text(pair).partition(" ")[0] or None,
                queue=as_text(pair).partition(" ")[2],
                **_told(_counts(text) + _counts(totals.get(pair))),
            )
            for pair, text in sorted(latest.items())
        ]

    def throughput(self) -> dict[str, float]:
        """Jobs that ended lately, a minute, on each queue that ever had any."""
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hkeys(LATEST)
            pipe.time()
            fields, (moment, _) = pipe.execute()
        pairs, minute = list(map(as_text, fields)), moment // 60
        minutes = range(minute - LATELY, minute + 1)  # the last one has only begun
        ended: Counter[str] = Counter()
        for pair, at, counts in self._of_minutes(pairs, minutes):
            if at in minutes:
                ended[pair.partition(" ")[2]] += Counts(**_told(counts)).ended
        lately = LATELY + (moment % 60) / 60
        return {
            queue: ended[queue] / lately for queue in {pair.partition(" ")[2] for pair in pairs}
        }

    def _counted(
        self, pairs: Sequence[str], since: int, until: int, step: int
    ) -> Iterator[tuple[int, Counter[str]]]:
        """What was counted at each time, in Unix seconds, as finely as slots of `step` need it."""
        if step >= HOUR:
            for hour, counts in self._of_hours(pairs, range(since // HOUR, until // HOUR + 1)):
                yield hour * HOUR, counts
        else:
            for _, minute, counts in self._of_minutes(pairs, range(since // 60, until // 60 + 1)):
                yield minute * 60, counts

    def _of_minutes(
        self, pairs: Sequence[str], minutes: range
    ) -> Iterator[tuple[str, int, Counter[str]]]:
        """What each pair has of these minutes since 1970, and of its latest one, be it or not."""
        hours = sorted({minute // 60 for minute in minutes})
        places = [(hour, pair) for pair in pairs for hour in hours]
        wanted = {hour: [each % 60 for each in minutes if each // 60 == hour] for hour in hours}
        with self._client.pipeline() as pipe:  # at one moment, so that nothing is counted twice
            for pair in pairs:
                pipe.hget(LATEST, pair)
            for hour, pair in places:
                pipe.hmget(minutes_key(hour, pair), wanted[hour])
            answers = pipe.execute()
        for pair, text in zip(pairs, answers, strict=False):
            yield pair, _minute_of(text), _counts(text)
        for (hour, pair), texts in zip(places, answers[len(pairs) :], strict=True):
            for minute, text in zip(wanted[hour], texts, strict=True):
                yield pair, hour * 60 + minute, _counts(text)

    def _of_hours(self, pairs: Sequence[str], hours: range) -> Iterator[tuple[int, Counter[str]]]:
        """The same of hours, and of the latest minute the hour."""
        places = [
            (day, pair) for pair in pairs for day in range(hours[0] // 24, hours[-1] // 24 + 1)
        ]
        with self._client.pipeline() as pipe:
            for pair in pairs:
                pipe.hget(LATEST, pair)
            for day, pair in places:
                pipe.hgetall(hours_key(day, pair))
            answers = pipe.execute()
        for text in answers[: len(pairs)]:
            yield _minute_of(text) // 60, _counts(text)
        for (day, _), found in zip(places, answers[len(pairs) :], strict=True):
            for hour, text in found.items():
                yield day * 24 + int(hour), _counts(text)


def quantile(histogram: Sequence[int], share: float) -> float | None:
    """About how many seconds this share of what was counted took at most; None of nothing."""
    wanted, below = share * sum(histogram), 0
    for number, count in enumerate(histogram):
        if count and below + count >= wanted:
            low = BOUNDS[number - 1] if number else 0.0
            high = BOUNDS[number] if number < len(BOUNDS) else low
            return low + (high - low) * (wanted - below) / count
        below += count
    return None


def _fits(pair: str, kind: Kind | None, name: str) -> bool:
    task, _, queue = pair.partition(" ")
    return kind is None or name == (task if kind == "task" else queue)


def _counts(text: bytes | None) -> Counter[str]:
    found = {letter: int(n) for letter, n in _COUNT.findall(as_text(text or b""))}
    return Counter({name: n for name, n in found.items() if name not in (MINUTE, MEAN, MEAN_OF)})


def _minute_of(text: bytes | None) -> int:
    found = dict(_COUNT.findall(as_text(text or b"")))
    return int(found.get(MINUTE, 0))


def _told(counts: Counter[str]) -> dict[str, Any]:
    return {
        **{outcome: counts[letter] for outcome, letter in OUTCOMES.items()},
        "run_seconds": counts[RUN_SUM] / 1e6,
        "wait_seconds": counts[WAIT_SUM] / 1e6,
        "runs": _histogram(counts, RUNS),
        "waits": _histogram(counts, WAITS),
    }


def _histogram(counts: Counter[str], letters: str) -> list[int]:
    histogram = [counts[letter] for letter in letters]
    return histogram if any(histogram) else []
