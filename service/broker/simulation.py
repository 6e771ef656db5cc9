"""When a job would be started, if nothing but what is there now had to be run: played through."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

PLAYED = 2_000  # jobs of all queues together that are played; of more, several are taken as one


@dataclass(frozen=True, slots=True)
class Crew:
    """A worker: what it serves, and in how many seconds each of its places is free."""

    queues: Sequence[str]  #: in order of priority
    free_in: Sequence[float]


@dataclass(frozen=True, slots=True)
class Load:
    """What waits on a queue."""

    count: int
    seconds: Sequence[float]  #: of some of them, evenly drawn; none only where count is 0


def seconds_until(queue: str, loads: dict[str, Load], crews: Sequence[Crew]) -> float | None:
    """Until a worker takes what comes after this queue's load; None where none ever does.

    Each worker, when it is free, takes the first job of the first queue that has one.
    """
    waiting = _played(loads)
    free = [(at, number) for number, crew in enumerate(crews) for at in crew.free_in]
    heapq.heapify(free)
    while free:
        at, number = heapq.heappop(free)
        for name in crews[number].queues:
            seconds = next(waiting[name], None) if name in waiting else None
            if seconds is None and name == queue:
                return at
            if seconds is not None:
                heapq.heappush(free, (at + seconds, number))
                break
    return None


def _played(loads: dict[str, Load]) -> dict[str, Iterator[float]]:
    at_once = max(1.0, sum(load.count for load in loads.values()) / PLAYED)
    return {name: _jobs(load, at_once) for name, load in loads.items()}


def _jobs(load: Load, at_once: float) -> Iterator[float]:
    """The seconds of each, or of so many as one, in their order."""
    played = max(1, round(load.count / at_once)) if load.count else 0
    for number in range(played):
        yield load.seconds[number * len(load.seconds) // played] * load.count / played
