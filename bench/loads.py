"""What is run: the same functions for every contender."""

import time

from jobs import job


def spin(seconds: float) -> float:
    """Use this much CPU time."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return seconds


def nothing() -> None:
    """Nothing."""


def spin_10() -> float:
    """10 ms of CPU."""
    return spin(0.010)


def spin_200() -> float:
    """200 ms of CPU."""
    return spin(0.200)


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
    return time.time()


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
