"""Unique tasks: one live job for the same parameters."""

import time
from pathlib import Path

from jobs import Retry, job


@job(unique=True)
def refresh(name: str, seconds: float = 0.0) -> str:
    """Do what needs doing once, however often it is asked for."""
    time.sleep(seconds)
    return name


@job(unique=True, retry=Retry(max=1, interval=60))
def refresh_or_fail(name: str) -> None:
    """Fail, and try again later."""
    raise ValueError(name)


@job(unique=True)
def fail_until_there(path: str) -> str:
    """Fail for as long as this file is not there."""
    return Path(path).read_text()


@job(unique=True, max_crashes=1)
def crash(name: str) -> None:
    """Take its process along."""
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
