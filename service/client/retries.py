"""Whether, and when, a request is sent again."""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MOST_DOUBLINGS = 30  # after which a pause would be longer than anybody waits


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How long a request that came to nothing is tried again.

    It is where that may help: the connection failed, broke or took too long, or the answer was 408,
    429, 502, 503 or 504. Before each retry is a pause of random length, at most `first` seconds
    before the first, twice as long before each of the next, and never over `longest`. A
    `Retry-After` is waited for besides, unless it goes beyond `total`.
    """

    max: int = 10  #: times that it is sent again; 0 for never
    total: float = 30.0  #: seconds, counted from the first failure
    first: float = 0.25  #: seconds
    longest: float = 8.0  #: seconds

    def __post_init__(self) -> None:
        if min(self.max, self.total, self.first, self.longest) < 0:
            raise ValueError(f"{self}: none of these may be below 0")


DEFAULT_RETRIES = Retries()


class Tries:
    """The tries of one request.

    `within` seconds from the first failure, as well as `total`, it must be over.
    """

    def __init__(
        self,
        retries: Retries,
        within: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.made = 0
        self._retries, self._clock, self._uniform = retries, clock, uniform
        self._seconds = min(retries.total, within)
        self._until: float | None = None

    def pause(self, retry_after: float | None) -> float | None:
        """Another has failed: seconds to pause before the next, or None where there is to be none.

        `retry_after` is what the service asked for.
        """
        self.made += 1
        now = self._clock()
        if self._until is None:
            self._until = now + self._seconds
        left, asked = self._until - now, retry_after or 0.0
        if self.made > self._retries.max or left <= 0 or asked > left:
            return None
        return min(asked + self._jitter(), left)

    def _jitter(self) -> float:
        # Anything from nothing on: clients that failed together must not come back together.
        doubled = self._retries.first * 2.0 ** min(self.made - 1, MOST_DOUBLINGS)
        return self._uniform(0, min(doubled, self._retries.longest))


def retry_after(header: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a `Retry-After` asks for, be it a number or a date; None if it can't be read."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    if moment.tzinfo is None:  # a date that ends in -0000, or in nothing
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
