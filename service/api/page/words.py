"""Figures and times in words: filters of the templates."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from service.durations import in_words

NOTHING = "\N{EN DASH}"
LONGEST_SUMMARY = 140  # characters
# What terminals take for colours and cursor movements, and what no page can show.
_CONTROLS = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
)


def duration(seconds: float | None) -> str:
    """`340 ms`, `12.4 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    return NOTHING if seconds is None else in_words(seconds)


def ago(moment: datetime) -> str:
    """How long ago it was, or in how long it will be, in one unit. The page's clock says the same
    as time goes on: `assets/times.js`.
    """
    seconds = (datetime.now(UTC) - moment).total_seconds()
    amount = _one_unit(abs(seconds))
    if seconds >= 0:
        return f"{amount} ago" if abs(seconds) >= 1 else "just now"
    return f"in {amount}"


def _one_unit(seconds: float) -> str:
    for most, size, unit in ((60, 1, "s"), (3600, 60, "min"), (48 * 3600, 3600, "h")):
        if seconds < most:
            return f"{int(seconds / size)} {unit}"
    return f"{int(seconds / 86400)} d"


def lasted(begun: datetime) -> float:
    """Seconds since then."""
    return max((datetime.now(UTC) - begun).total_seconds(), 0.0)


def clock(moment: datetime) -> str:
    """`2026-03-01 09:30:05 UTC`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def clock_time(moment: datetime) -> str:
    """`09:30:05`, of a time in UTC."""
    return moment.astimezone(UTC).strftime("%H:%M:%S")


def memory(size: float | None) -> str:
    """`12 MB`, of a number of bytes."""
    if size is None:
        return NOTHING
    for unit in ("B", "KB", "MB"):
        if size < 999.5:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def count(number: float) -> str:
    """`1,204`."""
    return f"{number:,.0f}"


def summary(parameters: Mapping[str, Any] | None) -> str:
    """What a task is called with, in a line: `to="ada@example.com", subject="Hello"`."""
    if parameters is None:
        return "unreadable"
    parts = (
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in parameters.items()
    )
    text = plain(", ".join(parts))
    return text if len(text) <= LONGEST_SUMMARY else f"{text[: LONGEST_SUMMARY - 1]}…"


def plain(text: str) -> str:
    """What a job printed, without a terminal's colours."""
    return _CONTROLS.sub("", text)


def short(job_id: str) -> str:
    """The end of an id: where ids sort by time, their beginnings are all alike."""
    return job_id if len(job_id) <= 12 else job_id[-8:]


FILTERS = {
    each.__name__: each
    for each in (
        duration,
        ago,
        lasted,
        clock,
        clock_time,
        memory,
        count,
        summary,
        plain,
        short,
    )
}
