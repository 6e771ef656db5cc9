"""What one execution has reported and its worker has not written down yet."""

import json
import math
import time
from collections import deque
from dataclasses import dataclass, field

from rq.queue import Queue

from service.execution.reporting.lines import Lines
from service.journal import MOST_BYTES, MOST_LINES

INTERVAL = 0.2  # seconds between writes to Redis
FIRST_WAIT = 0.05  # seconds from a first report on: most jobs that are short have ended by then
REDIS_AWAY_WAIT = 2.0  # seconds until it is tried again
BYTES_A_SECOND = 512 * 1024  # of log to Redis at most, on average, but for a job's end
LINES_AN_ENTRY, BYTES_AN_ENTRY = 500, 64 * 1024  # the journal drops its oldest entries as a whole
LINE_OVERHEAD = 48  # bytes of a line in the journal, beside its text

DROPPED = "[… {} lines were dropped here: they came faster than they could be kept]"

Line = tuple[float, str, str | None, str]  # Unix seconds, stream, level, text
Source = tuple[str, str | None, int]  # stream, level, and what else keeps its lines apart


@dataclass(frozen=True, slots=True)
class Batch:
    """What is written at once. One that is sent again is written once, by its number."""

    number: int
    lines: int  #: how many were reported, those included that were dropped since
    entries: list[tuple[int, str]] = field(default_factory=list)  #: lines in it, JSON
    progress: str = ""  #: JSON

    @property
    def size(self) -> int:
        """Bytes, about."""
        return sum(len(entry) for _, entry in self.entries) + len(self.progress)


class Reported:
    """Keeps the end of it, as the journal does: there would be no room for the rest there."""

    def __init__(
        self,
        queue: Queue,
        job_id: str,
        execution_id: str,
        pending: "set[Reported]",  # in which it is while it has something to be written, and runs
    ) -> None:
        self.queue, self.job_id, self.execution_id = queue, job_id, execution_id
        self._pending = pending
        self._is_over = False
        self._open: dict[Source, Lines] = {}
        self._lines: deque[Line] = deque()
        self._bytes = self._count = 0
        self._progress = ""
        self._unwritten: list[Batch] = []
        self._batches = 0
        self._not_before = 0.0  # monotonic time of the next write
        self._is_refused = False

    @property
    def due(self) -> float:
        """Monotonic time at which it is to be written down; infinity where there is nothing."""
        return self._not_before if self._has_news or self._unwritten else math.inf

    @property
    def size(self) -> int:
        """Bytes that are to be written, about."""
        return self._bytes + sum(batch.size for batch in self._unwritten)

    @property
    def _has_news(self) -> bool:
        return bool(self._count or self._progress)

    # From the horse

    def write(self, source: Source, at: float, piece: bytes) -> None:
        """A piece of output, or of what was logged."""
        stream, level, _ = source
        lines = self._open.setdefault(source, Lines())
        for text in lines.feed(piece):
            self._add((at, stream, level, text))
        if not lines.has_begun:
            del self._open[source]

    def progress(self, at: float, fraction: float | None, message: str | None) -> None:
        """How far the job is."""
        if self._is_refused:
            return
        self._notice()
        told = {"fraction": fraction, "message": message, "at": round(at, 3)}
        self._progress = json.dumps(told, ensure_ascii=False)

    def drop(self, at: float, lines: int) -> None:
        """So many lines are missing here."""
        self._end_lines(at)
        self._notice()
        self._count += lines
        self._add((at, "log", "WARNING", DROPPED.format(lines)))

    def end(self) -> None:
        """The execution has: what has begun of a line is a line.

        From now on it is not `pending`, but written with the execution's end.
        """
        self._end_lines(time.time())
        self._is_over = True
        self._pending.discard(self)

    # To Redis

    def batches(self, *, everything: bool) -> list[Batch]:
        """What is to be sent now: what may not have arrived, or else what is new, or both."""
        if self._has_news and (everything or not self._unwritten):
            self._batches += 1
            batch = Batch(self._batches, self._count, self._entries(), self._progress)
            self._unwritten.append(batch)
            self._lines.clear()
            self._bytes = self._count = 0
            self._progress = ""
        return list(self._unwritten)

    def written(self, count: int) -> None:
        """The first so many of these have been."""
        size = sum(batch.size for batch in self._unwritten[:count])
        del self._unwritten[:count]
        self._not_before = time.monotonic() + max(INTERVAL, size / BYTES_A_SECOND)
        if self.due == math.inf:
            self._pending.discard(self)

    def postpone(self) -> None:
        """Redis did not take them, and is to be asked again."""
        self._not_before = time.monotonic() + REDIS_AWAY_WAIT

    def refuse(self) -> None:
        """The job has been given to another: nobody wants to know."""
        self._is_refused = True
        self._unwritten, self._progress, self._count = [], "", 0
        self._lines.clear()
        self._pending.discard(self)

    def _notice(self) -> None:
        if not self._has_news:
            self._not_before = max(self._not_before, time.monotonic() + FIRST_WAIT)
            if not self._is_over:
                self._pending.add(self)

    def _add(self, line: Line) -> None:
        if self._is_refused:
            return
        self._notice()
        self._count += 1
        self._lines.append(line)
        self._bytes += len(line[3]) + LINE_OVERHEAD
        while len(self._lines) > MOST_LINES or self._bytes > MOST_BYTES:
            self._bytes -= len(self._lines.popleft()[3]) + LINE_OVERHEAD

    def _end_lines(self, at: float) -> None:
        for (stream, level, _), lines in self._open.items():
            self._add((at, stream, level, lines.take()))
        self._open.clear()

    def _entries(self) -> list[tuple[int, str]]:
        entries, some, size = [], [], 0
        for at, stream, level, text in self._lines:
            some.append((round(at, 3), stream, level, text))
            size += len(text) + LINE_OVERHEAD
            if len(some) == LINES_AN_ENTRY or size >= BYTES_AN_ENTRY:
                entries.append(_entry(some))
                some, size = [], 0
        if some:
            entries.append(_entry(some))
        return entries


def _entry(lines: list[Line]) -> tuple[int, str]:
    told = {"event": "log", "lines": lines}
    return len(lines), json.dumps(told, ensure_ascii=False, separators=(",", ":"))
