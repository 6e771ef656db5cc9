"""When a schedule is due: a cron expression, read on the clocks of a time zone.

croniter finds what matches on a clock without a time zone. Where the clocks are put forward or
back is decided here, as cronie and Vixie cron do: croniter's own way with it leaves out ticks where
the shift is not a whole hour (pallets-eco/croniter#258), and runs `30 1 * * *` twice in autumn.

- Times that the clocks skip: a schedule of fixed times runs once, when they have been put forward.
  One that repeats through the hours or minutes (`*` or `*/n` there) goes on at its pace.
- Times that come twice: fixed times count the first time only, repeating ones both times.
"""

import functools
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Literal
from zoneinfo import ZoneInfo, available_timezones

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
LONGEST_EXPRESSION = 200  # characters
LONGEST_SKIP = timedelta(hours=25)  # further than any clock was ever put forward or back at once
_CLOCK_FIELDS = (0, 1, 5)  # minute, hour, second
_DRAWN = re.compile(r"(?<![a-z])[hr](?![a-z])", re.IGNORECASE)  # croniter's drawn values


class CronInvalid(ValueError):
    """No such time zone, or no cron expression that names any time; `field` says which."""

    def __init__(self, field: Literal["cron", "timezone"], value: str, reason: str) -> None:
        self.field, self.reason = field, reason
        super().__init__(f"{field}={value[:LONGEST_EXPRESSION]!r}: {reason}")


class Cron:
    """Yields ticks: moments in UTC, on whole seconds. Raises `CronInvalid`."""

    def __init__(self, expression: str, timezone: str = "UTC") -> None:
        self._zone: tzinfo = _zone(timezone)
        self._matches = _matches(expression)
        self._repeats = any(
            self._matches.expressions[field].startswith("*")
            or self._matches.expanded[field] == ["*"]
            for field in _CLOCK_FIELDS
            if field < len(self._matches.expressions)
        )

    def next(self, after: datetime) -> datetime:
        """The first tick later than this."""
        after = after.astimezone(UTC).replace(microsecond=0)
        change = self._change(after - LONGEST_SKIP, after) or after + SECOND
        while True:
            tick = self._first_since(change, after)
            later = self._change(max(change, after), tick)
            if later is None:
                return tick
            change = later

    def ticks(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Those later than `after`, up to and with `until`."""
        while (after := self.next(after)) <= until:
            yield after

    def latest(self, after: datetime, until: datetime, most: int) -> list[datetime]:
        """The last of those later than `after`, up to and with `until`; oldest first."""
        span = timedelta(seconds=most)
        while True:
            # Backwards in growing strides: a year of seconds need not be counted for its last few.
            since = max(after, until - span)
            found = list(self.ticks(since, until))
            if len(found) >= most or since == after:
                return found[-most:]
            span *= 2

    def _first_since(self, change: datetime, after: datetime) -> datetime:
        """The first tick later than `after`, with the clocks as they are since `change`."""
        since = max(change, after + SECOND)
        was, now = self._offset(change - SECOND), self._offset(change)
        if now < was and not self._repeats:
            since = max(since, change + (was - now))  # until then it is the second time
        tick = self._match(since + now) - now
        skipped = self._match((since if self._repeats else change) + was)
        if skipped < change + now:  # the clocks never showed it
            made_up = skipped - was if self._repeats else change
            return min(tick, made_up) if made_up > after else tick
        return tick

    def _match(self, clock: datetime) -> datetime:
        """The first time on the clock, this or later, that the expression names."""
        found: datetime = self._matches.get_next(
            datetime, start_time=clock.replace(tzinfo=None) - SECOND
        )
        return found.replace(tzinfo=UTC)

    def _offset(self, moment: datetime) -> timedelta:
        offset = moment.astimezone(self._zone).utcoffset()
        assert offset is not None
        return offset

    def _change(self, after: datetime, until: datetime) -> datetime | None:
        """When the clocks are first changed, later than `after`, up to and with `until`."""
        offset, day = self._offset(after), after
        while day < until:
            day, before = min(day + DAY, until), day
            if self._offset(day) != offset:
                return self._bisect(before, day)
        return None

    def _bisect(self, before: datetime, after: datetime) -> datetime:
        offset = self._offset(before)
        while after - before > SECOND:
            middle = before + (after - before) // (2 * SECOND) * SECOND
            if self._offset(middle) == offset:
                before = middle
            else:
                after = middle
        return after


@functools.cache
def _zones() -> set[str]:
    return available_timezones() - {"localtime", "Factory"}  # no places, and each host's own


def _zone(name: str) -> ZoneInfo:
    if name not in _zones():
        raise CronInvalid("timezone", name, "there is no such time zone; try 'Europe/Berlin'")
    return ZoneInfo(name)


def _matches(expression: str) -> Any:
    # Here, as its import takes longer than all of ours.
    from croniter import croniter  # type: ignore[import-untyped]

    if len(expression) > LONGEST_EXPRESSION or len(expression.split()) > 6:
        raise CronInvalid(
            "cron", expression, "minute hour day month weekday, and seconds as a sixth field"
        )
    if _DRAWN.search(expression) and not expression.startswith("@"):
        raise CronInvalid("cron", expression, "H and R would be drawn at random; name the times")
    try:
        matches = croniter(expression)
        matches.get_next(datetime, start_time=datetime(2024, 1, 1))
    except ValueError as error:
        raise CronInvalid("cron", expression, str(error)) from error
    return matches
