"""History → charts: where each bar and line stands, in a square of 100 to be stretched."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from service.api.page.words import count

Slot = Any


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a bar."""

    kind: str
    top: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    """What stands over one slot of time; `words` tells it to who points at it."""

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
    """Lines by kind, each broken where there is nothing to tell."""

    columns: list[Column]
    lines: dict[str, list[str]]
    most: float
    words: str


def throughput(slots: Sequence[Slot]) -> Bars:
    """Jobs that ended, by minute: those that finished, and those that failed on top of them."""
    most = max((slot.finished + slot.failed for slot in slots), default=0)
    columns = []
    for place, slot in enumerate(slots):
        parts, top = [], 100.0
        for kind, number in (("finished", slot.finished), ("failed", slot.failed)):
            if number:
                height = 100 * number / most
                top -= height
                parts.append(Part(kind, round(top, 2), round(height, 2)))
        columns.append(
            Column(place, f"{_clock(slot.at)} {_ended(slot.finished, slot.failed)}", parts)
        )
    words = _ended(sum(slot.finished for slot in slots), sum(slot.failed for slot in slots))
    return Bars(columns, most, words)


def _ended(finished: int, failed: int) -> str:
    return f"{count(finished)} finished" + (f", {count(failed)} failed" if failed else "")


def _clock(at: datetime) -> str:
    return at.strftime("%H:%M")
