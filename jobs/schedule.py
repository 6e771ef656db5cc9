"""When a task is enqueued by itself, and with what."""

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from jobs.cron import Cron

Missed = Literal["skip", "once", "all"]  # what becomes of ticks at which no scheduler ran
DEFAULT_MISSED: Missed = "once"
DEFAULT_TIMEZONE = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Raises `CronInvalid`, and `ValueError` on a policy that there is not."""

    cron: str  #: minute hour day month weekday, and seconds where there is a sixth field
    timezone: str = DEFAULT_TIMEZONE
    missed: Missed = DEFAULT_MISSED
    parameters: dict[str, Any] = field(default_factory=dict)  #: plain JSON, as the task accepts it

    def __post_init__(self) -> None:
        self.rhythm()
        if self.missed not in get_args(Missed):
            raise ValueError(f"missed={self.missed!r}: 'skip', 'once' or 'all'")

    def rhythm(self) -> Cron:
        """What yields its ticks."""
        return Cron(self.cron, self.timezone)
