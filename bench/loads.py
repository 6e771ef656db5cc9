"""The loads as Paddock's tasks."""

from bench.plain import spin, tell_time_plain
from jobs import job


@job
def noop() -> None:
    """Nothing."""


@job
def spin_10ms() -> float:
    """10 ms of CPU."""
    return spin(0.010)


@job
def spin_200ms() -> float:
    """200 ms of CPU."""
    return spin(0.200)


@job
def tell_time() -> float:
    """When it ran (Unix time)."""
    return tell_time_plain()


@job(isolation="shared")
def noop_shared() -> None:
    """Nothing, in a shared horse."""


@job(isolation="shared")
def spin_10ms_shared() -> float:
    """10 ms of CPU, in a shared horse."""
    return spin(0.010)


@job(isolation="shared")
def spin_200ms_shared() -> float:
    """200 ms of CPU, in a shared horse."""
    return spin(0.200)


@job
def noop_with(number: int, text: str) -> None:
    """Nothing, with parameters such as jobs have."""
