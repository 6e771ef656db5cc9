"""What a job's author calls to tell how far the job is, in a worker and outside of one."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from jobs import progress, reporting, track

Report = tuple[float | None, str | None]


class Heard:
    """A reporter that keeps everything."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    @property
    def latest(self) -> Report:
        return self.reports[-1] if self.reports else (None, None)

    def report(self, fraction: float | None, message: str | None) -> None:
        self.reports.append((fraction, message))


class Clock:
    now = 100.0


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    heard = Heard()
    monkeypatch.setattr(reporting, "_reporter", lambda: heard)
    return heard


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("jobs.reporting.time.monotonic", lambda: clock.now)
    return clock


def test_outside_of_a_worker_nothing_is_told_and_everything_goes_on() -> None:
    progress(0.5, "half")
    assert list(track(range(3))) == [0, 1, 2]
    assert list(track(iter("ab"), total=2, message="letters")) == ["a", "b"]


def test_what_is_not_given_stays_as_it_was(heard: Heard) -> None:
    progress(0.25, "reads")
    progress(0.5)
    progress(message="writes")
    progress(message="")
    assert heard.reports == [(0.25, "reads"), (0.5, "reads"), (0.5, "writes"), (0.5, None)]


@pytest.mark.parametrize("in_worker", [True, False])
@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({}, ValueError),
        ({"fraction": 1.01}, ValueError),
        ({"fraction": -0.1}, ValueError),
        ({"fraction": math.nan}, ValueError),
        ({"fraction": "half"}, TypeError),
        ({"message": 5}, TypeError),
    ],
)
def test_what_is_no_progress_is_refused_in_a_worker_and_outside(
    request: pytest.FixtureRequest, in_worker: bool, given: dict[str, Any], error: type[Exception]
) -> None:
    if in_worker:
        request.getfixturevalue("heard")
    with pytest.raises(error):
        progress(**given)


def test_a_slow_loop_tells_of_each_item(heard: Heard, clock: Clock) -> None:
    for _ in track(range(4), message="rows"):
        clock.now += 60.0
    assert heard.reports == [(number / 4, "rows") for number in range(5)]


def test_a_fast_loop_tells_of_its_beginning_and_its_end_and_now_and_then_between(
    heard: Heard, clock: Clock
) -> None:
    for _ in track(range(10_000)):
        clock.now += 0.001
    fractions = [fraction for fraction, _ in heard.reports]
    assert fractions[0] == 0 and fractions[-1] == 1 and fractions == sorted(set(fractions))
    # At a fiftieth of the time that it has run, and every 0.2 s once that is more.
    assert 10 / 0.2 < len(fractions) < 10 / 0.2 + 50 * math.log(10 / 0.001)


def test_where_nobody_knows_how_many_there_are_they_are_counted(heard: Heard, clock: Clock) -> None:
    for _ in track(iter("ab"), message="rows"):
        clock.now += 60.0
    assert heard.reports == [(None, "rows: 0"), (None, "rows: 1"), (None, "rows: 2")]


def test_a_loop_that_is_left_tells_how_far_it_came(heard: Heard, clock: Clock) -> None:
    for number in track(range(10)):
        clock.now += 0.0001
        if number == 4:
            break
    assert heard.latest == (0.4, None)


def test_an_async_loop_is_tracked_as_well(heard: Heard) -> None:
    async def items() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    async def run() -> list[int]:
        return [number async for number in track(items(), total=3)]

    assert asyncio.run(run()) == [0, 1, 2]
    assert heard.latest == (1.0, None)


@pytest.mark.parametrize(
    ("given", "error"), [({"total": -1}, ValueError), ({"total": 2.5}, TypeError)]
)
def test_a_total_that_is_none_is_refused(given: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        track([1], **given)
    with pytest.raises(TypeError, match="go through"):
        track(5)
