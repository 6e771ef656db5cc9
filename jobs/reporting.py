"""What a job tells while it runs: `progress`, `track`, `logger`.

In a worker, the horse that runs the job says where its reports go (`report_to`). Anywhere else, as
in a test that calls the function or in a REPL, all of this does nothing.
"""

import logging
import math
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from numbers import Real
from typing import Any, Protocol, TypeVar, overload

T = TypeVar("T")

# Seconds between the reports of a loop: a fiftieth of the time that it has run, so that one which
# comes to a slow item after many quick ones is shown about where it is. The worker, which is told
# of each, writes down five a second.
LEAST_INTERVAL, LONGEST_INTERVAL, SHARE = 0.0002, 0.2, 50

#: For a task's own words. What is logged with any logger is in the job's log, from INFO on.
logger = logging.getLogger("paddock.job")


class Reporter(Protocol):
    """Where one job's reports go."""

    latest: tuple[float | None, str | None]  #: the fraction and the message reported last

    def report(self, fraction: float | None, message: str | None) -> None:
        """Show this from now on; None for nothing."""


def _nowhere() -> Reporter | None:
    return None


_reporter: Callable[[], Reporter | None] = _nowhere


def report_to(find: Callable[[], Reporter | None]) -> None:
    """Have this process's jobs report to what `find` returns, asked from within the job."""
    global _reporter
    _reporter = find


def progress(fraction: float | None = None, message: str | None = None) -> None:
    """Tell how far the job is: a fraction from 0 to 1, a few words, or both.

    What is not given stays as it was; the message `""` takes one away. Outside of a worker this
    does nothing. Raises `ValueError` for a fraction that is none, and where neither is given;
    `TypeError` for what is no number, or no text.
    """
    if fraction is None and message is None:
        raise ValueError("progress() needs a fraction, a message, or both")
    told = None if fraction is None else _checked(fraction)
    _check_message(message)
    reporter = _reporter()
    if reporter is not None:
        before = reporter.latest
        reporter.report(
            before[0] if told is None else told, before[1] if message is None else message or None
        )


@overload
def track(
    iterable: Iterable[T], total: int | None = None, message: str | None = None
) -> Iterator[T]: ...


@overload
def track(
    iterable: AsyncIterable[T], total: int | None = None, message: str | None = None
) -> AsyncIterator[T]: ...


def track(iterable: Any, total: int | None = None, message: str | None = None) -> Any:
    """Go through it, and report how far the loop is.

    `total` is how many items there are, its `len()` where that is known and none is given. Where
    neither is, the items are counted in the message. One of two loops within each other is to be
    tracked: the latest report is what is shown. Also for `async for`.

    Raises `ValueError` for a total below 0, `TypeError` for what is no whole number, no text, or
    can't be gone through.
    """
    if total is not None:
        if isinstance(total, bool) or not isinstance(total, int):
            raise TypeError(f"total={total!r}: a whole number is needed")
        if total < 0:
            raise ValueError(f"total={total}: there can't be fewer items than none")
    _check_message(message)
    if hasattr(iterable, "__iter__") or hasattr(iterable, "__getitem__"):
        return _tracked(iterable, _Loop(total if total is not None else _length(iterable), message))
    if hasattr(iterable, "__aiter__"):
        return _tracked_async(iterable, _Loop(total, message))
    raise TypeError(f"track() needs something to go through, not a {type(iterable).__name__}")


class _Loop:
    """What is told of one loop."""

    def __init__(self, total: int | None, message: str | None) -> None:
        self._total, self._message = total, message
        self._told, self._began = -1, time.monotonic()

    def tell(self, reporter: Reporter, done: int) -> float:
        """Report so many items; the monotonic time at which the next report is due."""
        if done != self._told:
            self._told = done
            reporter.report(*self._words(done))
        moment = time.monotonic()
        share = (moment - self._began) / SHARE
        return moment + min(max(share, LEAST_INTERVAL), LONGEST_INTERVAL)

    def _words(self, done: int) -> tuple[float | None, str | None]:
        if self._total is None:
            return None, f"{self._message}: {done}" if self._message else str(done)
        # The total that was given may be too small, and of none all are done.
        return (min(done / self._total, 1.0) if self._total else 1.0), self._message


# The clock is looked at for each item, which takes some 40 ns: to look less often would have a loop
# that turns slow report late.


def _tracked(iterable: Iterable[T], loop: _Loop) -> Iterator[T]:
    reporter = _reporter()
    if reporter is None:
        yield from iterable
        return
    clock, done = time.monotonic, 0
    due = loop.tell(reporter, 0)
    try:
        for item in iterable:
            yield item
            done += 1
            if clock() >= due:
                due = loop.tell(reporter, done)
    finally:
        loop.tell(reporter, done)


async def _tracked_async(iterable: AsyncIterable[T], loop: _Loop) -> AsyncIterator[T]:
    reporter = _reporter()
    if reporter is None:
        async for item in iterable:
            yield item
        return
    clock, done = time.monotonic, 0
    due = loop.tell(reporter, 0)
    try:
        async for item in iterable:
            yield item
            done += 1
            if clock() >= due:
                due = loop.tell(reporter, done)
    finally:
        loop.tell(reporter, done)


def _length(iterable: Any) -> int | None:
    try:
        return len(iterable)
    except TypeError:
        return None


def _checked(fraction: Any) -> float:
    if isinstance(fraction, Real):
        number = float(fraction)
        if math.isfinite(number) and 0 <= number <= 1:
            return number
        raise ValueError(f"fraction={fraction}: it goes from 0 to 1; 0.4 is 40 %")
    raise TypeError(f"fraction={fraction!r}: a number from 0 to 1 is needed")


def _check_message(message: Any) -> None:
    if message is not None and not isinstance(message, str):
        raise TypeError(f"message={message!r}: a text is needed")
