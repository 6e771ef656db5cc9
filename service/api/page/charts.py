"""History → charts: where each bar and line stands, in a square of 100 to be stretched."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from service.api.page.words import count, duration
from service.broker.depths import Depth
from service.broker.history import Slot, quantile

LOWEST = 2.0  # percent; what is not nothing is to be seen


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a bar."""

    kind: str
    top: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    """What stands over one slot of time; `words` tells it to those who point at it."""

    place: int
    words: str
    parts: list[Part] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Bars:
    """Stacked bars; `most` is what the highest stands for."""

    columns: list[Column]
    most: float
    words: str


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines by kind, each in stretches, since it is broken where there is nothing to tell."""

    columns: list[Column]
    lines: dict[str, list[str]]
    most: float
    words: str


def throughput(slots: Sequence[Slot]) -> Bars:
    """Jobs that ended: those that finished, and those that failed on top of them."""
    most = max((slot.finished + slot.failed for slot in slots), default=0)
    columns = []
    for place, slot in enumerate(slots):
        parts, top = [], 100.0
        for kind, number in (("finished", slot.finished), ("failed", slot.failed)):
            if number:
                height = max(100 * number / most, LOWEST)
                top -= height
                parts.append(Part(kind, round(top, 2), round(height, 2)))
        words = f"{_clock(slot.at)}: {_ended(slot.finished, slot.failed)}"
        columns.append(Column(place, words, parts))
    ended = _ended(sum(slot.finished for slot in slots), sum(slot.failed for slot in slots))
    return Bars(columns, most, ended)


def depth(depths: Sequence[Depth], now: int) -> Bars:
    """Jobs that waited. The last minute has what waits `now` at least."""
    known = [each.jobs for each in depths]
    known[-1] = max(known[-1] or 0, now)
    most = max((jobs for jobs in known if jobs), default=0)
    columns = []
    for place, (each, jobs) in enumerate(zip(depths, known, strict=True)):
        words = f"{_clock(each.at)}: {count(jobs or 0)} waited"
        if jobs:
            height = round(max(100 * jobs / most, LOWEST), 2)
            columns.append(Column(place, words, [Part("depth", round(100 - height, 2), height)]))
        else:
            columns.append(Column(place, words))
    return Bars(columns, most, f"{count(most)} at most")


def run_times(slots: Sequence[Slot]) -> Lines:
    """How long executions took: half of them no longer than the one line, 95 % than the other."""
    half = [quantile(slot.runs, 0.5) for slot in slots]
    most_of = [quantile(slot.runs, 0.95) for slot in slots]
    most = max((each for each in most_of if each), default=0.0)
    columns = [
        Column(place, _run_words(slot.at, low, high))
        for place, (slot, low, high) in enumerate(zip(slots, half, most_of, strict=True))
    ]
    runs = [sum(counts) for counts in zip(*(slot.runs for slot in slots if slot.runs), strict=True)]
    low, high = quantile(runs, 0.5), quantile(runs, 0.95)
    words = f"half within {duration(low)}, 95 % within {duration(high)}" if runs else ""
    lines = {"half": _stretches(half, most), "high": _stretches(most_of, most)}
    return Lines(columns, lines, most, words)


def _run_words(at: datetime, low: float | None, high: float | None) -> str:
    if low is None:
        return ""
    return f"{_clock(at)}: half within {duration(low)}, 95 % within {duration(high)}"


def _stretches(values: Sequence[float | None], most: float) -> list[str]:
    """SVG points; where one stands alone it is a short line."""
    stretches: list[list[tuple[float, float]]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            stretches.append([])
            continue
        stretches[-1].append((10 * place + 5, round(96 - 92 * value / (most or 1), 2)))
    return [_points(each) for each in stretches if each]


def _points(points: list[tuple[float, float]]) -> str:
    if len(points) == 1:
        ((x, y),) = points
        points = [(x - 3, y), (x + 3, y)]
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _ended(finished: int, failed: int) -> str:
    return f"{count(finished)} finished" + (f", {count(failed)} failed" if failed else "")


def _clock(at: datetime) -> str:
    return at.strftime("%H:%M")
