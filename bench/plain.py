"""What is run, in a module that imports next to nothing: RQ imports it again for each job."""

import time


def spin(seconds: float) -> float:
    """Use this much CPU time."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return seconds


def noop() -> None:
    """Nothing."""


def spin_10ms() -> float:
    """10 ms of CPU."""
    return spin(0.010)


def spin_200ms() -> float:
    """200 ms of CPU."""
    return spin(0.200)


def tell_time_plain() -> float:
    """When it ran (Unix time)."""
    return time.time()
