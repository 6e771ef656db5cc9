"""What a reader of a job's journal has not seen yet, in the order in which it happened."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Self

from rq.utils import utcparse

from service.broker.entries import LogPiece, Step, read_entry
from service.broker.journals import Reading
from service.broker.progress import read_progress
from service.broker.status import Status


@dataclass(frozen=True, slots=True)
class Place:
    """How far a reader has come. What it is given goes on from there."""

    entry: int = 0  #: number of the journal's last entry that was seen
    progress: int = 0  #: number of the report likewise
    status: Status | None = None  #: the last that was told
    is_end: bool = False  #: whether the job's result was told as well

    def __str__(self) -> str:
        return f"{self.entry}.{self.progress}.{self.status or ''}{'.end' if self.is_end else ''}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The place that this was made of; the beginning where it was made of none."""
        try:
            entry, progress, status, *end = text.split(".")
            return cls(int(entry), int(progress), Status(status) if status else None, bool(end))
        except ValueError:
            return cls()


@dataclass(frozen=True, slots=True)
class ProgressNews:
    """How far the job is, as it has told last."""

    fraction: float | None
    message: str | None
    at: datetime


News = Step | ProgressNews | LogPiece


def news_in(reading: Reading, place: Place) -> list[tuple[Place, News]]:
    """What this reading has for who has come to this place, and the place after each."""
    return list(_news_in(reading, place))


def _news_in(reading: Reading, place: Place) -> Iterator[tuple[Place, News]]:
    if place.entry > reading.last:
        place = Place()  # the job of this id is another one, or its Redis has lost some
    for number, entry in enumerate(reading.entries, reading.first):
        news = read_entry(entry)
        if isinstance(news, Step):
            if number == 1 and place.status is None and news.status is Status.RUNNING:
                # No entry tells of its being enqueued.
                place = replace(place, status=Status.QUEUED)
                yield place, Step(Status.QUEUED, _first_queued(reading, news.at), 0, None)
            is_end = news.status.is_final and number == reading.last
            if is_end and (report := _report(reading, place)):
                yield report
                place = report[0]
            place = replace(place, status=news.status)
        place = replace(place, entry=number, is_end=False)
        if news is not None:
            yield place, news
    if not reading.is_all:
        return
    place = replace(place, entry=reading.last)
    if report := _report(reading, place):
        yield report
        place = report[0]
    if reading.status not in (None, place.status):
        # One who has just come, or another program has moved it, which keeps no journal.
        yield replace(place, status=reading.status, is_end=False), _status_now(reading)


def _report(reading: Reading, place: Place) -> tuple[Place, ProgressNews] | None:
    """The latest one, unless it was seen."""
    told = read_progress(reading.progress)
    if told is None or told.number == place.progress:
        return None
    return replace(place, progress=told.number), ProgressNews(told.fraction, told.message, told.at)


def _first_queued(reading: Reading, ran: datetime) -> datetime:
    """When one was that was first run then. It may have been queued again since."""
    enqueued = _time(reading.enqueued_at)
    return enqueued if enqueued <= ran else min(_time(reading.created_at), ran)


def _status_now(reading: Reading) -> Step:
    """Made of the job's record."""
    assert reading.status is not None
    if reading.status.is_final:
        at = reading.ended_at
    elif reading.status is Status.RUNNING:
        at = reading.started_at
    else:
        at = reading.enqueued_at
    # A stock worker counts no attempts.
    attempts = max(reading.attempts, 1 if reading.started_at else 0)
    worker = reading.worker if reading.status is Status.RUNNING else None
    return Step(reading.status, _time(at), attempts, worker)


def _time(stamp: bytes | None) -> datetime:
    """As RQ writes it; now, where it has written none."""
    try:
        return utcparse(stamp.decode()) if stamp else datetime.now(UTC)
    except ValueError:
        return datetime.now(UTC)
