"""How a task's jobs are run: where, for how long, and what happens when one fails."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

DEFAULT_QUEUE = "default"
IO_QUEUE = "io"  # the default of tasks that share a process while they wait
DEFAULT_TIMEOUT = 180  # seconds one execution may take; RQ's own default
DEFAULT_RESULT_TTL = 24 * 3600  # seconds a finished job and its result are kept
DEFAULT_FAILURE_TTL = 365 * 24 * 3600  # seconds a failed job is kept; RQ's own default
KEEP_FOREVER = -1  # as a ttl
DEFAULT_MAX_CRASHES = 3  # processes a job may take down before it is failed as poison
LEAST_MEMORY = 16 * 2**20  # bytes; below this Python itself can't work

_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}

Isolation = Literal["process", "shared", "async", "thread"]
ISOLATIONS: tuple[Isolation, ...] = get_args(Isolation)
TOGETHER: tuple[Isolation, ...] = ("async", "thread")  # many at once in one process

ExceptionTypes = type[BaseException] | tuple[type[BaseException], ...]
ConcurrencyKey = str | Callable[..., Any]  # a parameter's name, or a function of all of them


class PermanentFailure(Exception):
    """Raise it in a task to fail the job at once: no retry would help."""


@dataclass(frozen=True, slots=True)
class Exponential:
    """Waits that grow: `first`, `first * factor`, `first * factor²`, … seconds, up to `ceiling`.

    `jitter` is the share of each wait that is drawn at random (0 = none, 1 = all of it), so that
    jobs that failed together do not come back together.
    """

    first: float = 1.0
    factor: float = 2.0
    ceiling: float = 600.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if self.first <= 0 or self.factor < 1 or self.ceiling < self.first:
            raise ValueError("Exponential needs first > 0, factor >= 1 and ceiling >= first")
        if not 0 <= self.jitter <= 1:
            raise ValueError("Exponential's jitter is a share between 0 and 1")

    def wait(self, attempt: int) -> float:
        """Seconds to wait after failed attempt number `attempt` (1, 2, …)."""
        exponent = min(attempt - 1, 1000)  # past this the ceiling holds anyway; floats overflow
        try:
            full = min(self.first * self.factor**exponent, self.ceiling)
        except OverflowError:
            full = self.ceiling
        return full * (1 - self.jitter * random.random())


@dataclass(frozen=True, slots=True)
class Retry:
    """Run a failed job again, up to `max` times.

    `interval` is the wait before each retry: seconds, a list of seconds (its last value is used
    for the retries beyond it), or an `Exponential`. Whole seconds: RQ's scheduler counts in them.
    Only exceptions of a type in `on` and of none in `never` are retried.
    """

    max: int
    interval: int | Sequence[int] | Exponential = 0
    on: ExceptionTypes = Exception
    never: ExceptionTypes = ()

    def __post_init__(self) -> None:
        if self.max < 1:
            raise ValueError("Retry(max=…) is the number of retries: 1 or more")
        listed = self._listed()
        if isinstance(self.interval, Sequence) and not listed:
            raise ValueError("Retry(interval=[…]) needs at least one wait")
        if any(wait < 0 for wait in listed):
            raise ValueError("Retry(interval=…) is in seconds: 0 or more")

    def _listed(self) -> list[int]:
        match self.interval:
            case Exponential():
                return []
            case int() | float():
                return [int(self.interval)]
            case _:
                return [int(wait) for wait in self.interval]

    def intervals(self) -> list[int]:
        """One wait in whole seconds for each retry, jitter drawn anew at each call."""
        if isinstance(self.interval, Exponential):
            return [round(self.interval.wait(attempt)) for attempt in range(1, self.max + 1)]
        listed = self._listed()
        return [listed[min(retry, len(listed) - 1)] for retry in range(self.max)]

    def applies_to(self, error: BaseException) -> bool:
        """Whether a job that failed with this error is to be run again."""
        if isinstance(error, (PermanentFailure, self.never)):
            return False
        return isinstance(error, self.on)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What `@job(...)` was given. Times in seconds; a ttl of -1 keeps for ever."""

    queue: str = DEFAULT_QUEUE
    timeout: int = DEFAULT_TIMEOUT
    retry: Retry | None = None
    result_ttl: int = DEFAULT_RESULT_TTL
    failure_ttl: int = DEFAULT_FAILURE_TTL
    on_crash: Literal["requeue", "fail"] = "requeue"
    max_crashes: int = DEFAULT_MAX_CRASHES
    memory: int | None = None  #: bytes
    cpu_seconds: int | None = None
    isolation: Isolation = "process"
    concurrency: int | None = None  #: jobs that may run at once, of those that share a key
    concurrency_key: ConcurrencyKey | None = None
    unique: bool = False  #: one live job for the same parameters
    webhook: str | None = None  #: URL that is told how each job ended

    def __post_init__(self) -> None:
        if not self.queue or any(character in self.queue for character in ", \t\n/"):
            raise ValueError(f"queue={self.queue!r}: a name without spaces, commas or slashes")
        if self.timeout < 1:
            raise ValueError(f"timeout={self.timeout}: seconds, 1 or more")
        if any(ttl < 1 and ttl != KEEP_FOREVER for ttl in (self.result_ttl, self.failure_ttl)):
            raise ValueError("result_ttl and failure_ttl: seconds, 1 or more, or -1 for ever")
        if self.on_crash not in ("requeue", "fail") or self.max_crashes < 1:
            raise ValueError("on_crash is 'requeue' or 'fail', and max_crashes 1 or more")
        if self.memory is not None and self.memory < LEAST_MEMORY:
            raise ValueError(f"memory={self.memory}: bytes, {LEAST_MEMORY // 2**20} MiB or more")
        if self.cpu_seconds is not None and self.cpu_seconds < 1:
            raise ValueError(f"cpu_seconds={self.cpu_seconds}: 1 or more")
        if self.isolation not in ISOLATIONS:
            raise ValueError(f"isolation={self.isolation!r}: one of {', '.join(ISOLATIONS)}")
        if self.isolation != "process" and (self.memory or self.cpu_seconds):
            raise ValueError(
                f"isolation={self.isolation!r}: memory and cpu_seconds limit a process, and would "
                "hit the other jobs in it"
            )
        if self.concurrency is not None and self.concurrency < 1:
            raise ValueError(f"concurrency={self.concurrency}: jobs at once, 1 or more")
        if self.concurrency_key is not None and self.concurrency is None:
            raise ValueError(
                "concurrency_key needs a concurrency=…, the jobs that share it at once"
            )
        if self.webhook is not None and not self.webhook.startswith(("https://", "http://")):
            raise ValueError(f"webhook={self.webhook!r}: a URL, https://… or http://…")

    @property
    def runs_together(self) -> bool:
        """Whether its jobs may wait beside others in one process."""
        return self.isolation in TOGETHER

    @property
    def most_crashes(self) -> int:
        """How often its process may die until the job is failed."""
        return self.max_crashes if self.on_crash == "requeue" else 1

    def retries(self, error: BaseException) -> bool:
        """Whether a job that failed with this error may be run again.

        A task without a policy leaves it to the job, which another program may have enqueued with
        retries of its own.
        """
        if self.retry is None:
            return isinstance(error, Exception) and not isinstance(error, PermanentFailure)
        return self.retry.applies_to(error)


def parse_memory(size: int | str | None) -> int | None:
    """`"512MiB"` → bytes; numbers are bytes already. Raises `ValueError`."""
    if size is None or isinstance(size, int):
        return size
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMG]i?B)", size.strip())
    if found is None or found[2] not in _UNITS:
        raise ValueError(f"memory={size!r}: a number of bytes, or a size such as '512MiB'")
    return int(float(found[1]) * _UNITS[found[2]])
