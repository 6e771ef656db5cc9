"""Tasks that are called, and call others, as Celery's are."""

import time
from datetime import UTC, datetime
from pathlib import Path

from jobs import Retry, job
from tests.sample_waiting_tasks import double


@job
def subtract(x: int, y: int) -> int:
    """The order of its arguments matters."""
    return x - y


@job(queue="cpu")
def subtract_elsewhere(x: int, y: int) -> int:
    """The same, on another queue."""
    return x - y


@job
def submit_double(n: int) -> str:
    """Call another task, and return its job's id."""
    return double.delay(n).id


@job
def noon(day: datetime) -> datetime:
    """A value that JSON has no type for."""
    return day.replace(hour=12, tzinfo=UTC)


@job(unique=True)
def double_once(n: int) -> int:
    """One at a time for each n."""
    return 2 * n


@job(retry=Retry(max=1, interval=3600))
def try_again_later() -> None:
    """Fail, and be tried again when nobody looks any more."""
    raise ConnectionError("not now")


@job(timeout=60)
def run_until_told(path: str) -> str:
    """Note that it runs, and go on until there is a file."""
    with Path(path).open("a") as file:
        file.write("runs\n")
    while not Path(f"{path}.over").exists():
        time.sleep(0.02)
    return "told"
