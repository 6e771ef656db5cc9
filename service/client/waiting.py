"""How long to wait, and how often to look."""

import time
from collections.abc import Iterator

LONG_POLL = 25.0  # seconds that the service is asked to wait at a time; many proxies allow 30
FIRST_LOOK = 0.1  # seconds until the second look
LAST_LOOK = 2.0  # seconds between looks, after many of them
GROWTH = 1.5


class Deadline:
    """A time by which something must be over."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._until = float("inf") if seconds is None else time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then; 0 once it is over, infinity where there is no end."""
        return max(0.0, self._until - time.monotonic())


ENDLESS = Deadline(None)


def looks() -> Iterator[float]:
    """Seconds to wait between looks at what nobody tells of: ever longer."""
    seconds = FIRST_LOOK
    while True:
        yield seconds
        seconds = min(seconds * GROWTH, LAST_LOOK)
