"""Tasks that wait for each other, or for a place under a limit."""

import fcntl
import os
import time
from pathlib import Path

from jobs import Retry, job


@job
def double(n: int) -> int:
    """Twice as much."""
    return 2 * n


@job
def double_again(n: int = 1) -> int:
    """The same, of 1 where nothing is given."""
    return 2 * n


@job
def total(numbers: list[int], plus: int = 0) -> int:
    """Add them up."""
    return sum(numbers) + plus


@job
def fail_with(message: str) -> None:
    """Fail."""
    raise ValueError(message)


def _count_others(folder: Path) -> int:
    """How many of those that have a lock in this folder live: the kernel takes it from the dead."""
    others = 0
    for path in folder.glob("*.lock"):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                others += 1
    return others


def _run_beside(folder: str, seconds: float, tenant: str = "") -> int:
    place = Path(folder) / tenant
    place.mkdir(parents=True, exist_ok=True)
    with (Path(folder) / "runs").open("a") as runs:
        runs.write(f"{tenant or 'all'}\n")
    with (place / f"{os.getpid()}-{time.monotonic_ns()}.lock").open("w") as own:
        guard = (place / "guard").open("w")
        fcntl.flock(guard, fcntl.LOCK_EX)
        others = _count_others(place)
        fcntl.flock(own, fcntl.LOCK_EX)
        guard.close()
        with (Path(folder) / "beside").open("a") as seen:
            seen.write(f"{others + 1}\n")
        time.sleep(seconds)
    return others


@job(concurrency=2, timeout=60)
def two_at_once(folder: str, seconds: float = 0.05) -> int:
    """Tell how many others run."""
    return _run_beside(folder, seconds)


@job(concurrency=1, concurrency_key="tenant", timeout=60)
def one_a_tenant(folder: str, tenant: str, seconds: float = 0.02) -> int:
    """Tell how many others of the same tenant run."""
    return _run_beside(folder, seconds, tenant)


@job(concurrency=1, retry=Retry(max=2, interval=[1, 0]))
def one_that_fails(path: str) -> int:
    """Fail twice."""
    with Path(path).open("a+") as file:
        file.write("x")
        file.seek(0)
        runs = len(file.read())
    if runs < 3:
        raise ConnectionError(f"run {runs}")
    return runs
