"""Further tasks for the tests of workers: they look at, or harm, the process that runs them."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

from jobs import Exponential, Retry, job


@job(timeout=60)
def append_pid(path: str, seconds: float) -> int:
    """Note the process, and take a while the first time."""
    with Path(path).open("a+") as file:
        file.write(f"{os.getpid()}\n")
        file.seek(0)
        runs = len(file.readlines())
    if runs == 1:
        time.sleep(seconds)
    return runs


@job(retry=Retry(max=2, interval=1))
def succeed_later(attempt: int, path: str) -> int:
    """Fail until this attempt, with a wait before each of the next."""
    with Path(path).open("a+") as file:
        file.write("x")
        file.seek(0)
        made = len(file.read())
    if made < attempt:
        raise ConnectionError(f"attempt {made} of {attempt}")
    return made


@job(retry=Retry(max=3, interval=Exponential(first=1, factor=2, ceiling=2, jitter=0.5)))
def fail_with_jitter(path: str) -> None:
    """Note the time, and fail."""
    with Path(path).open("a") as file:
        file.write(f"{time.time()}\n")
    raise ValueError("it never works")


@job(timeout=1)
def clean_up_when_interrupted(path: str) -> None:
    """Take too long, and tidy up when stopped."""
    try:
        time.sleep(60)
    finally:
        Path(path).write_text("tidied up")


@job(timeout=1)
def ignore_timeout_with_child(path: str) -> None:
    """Start a process, swallow the interrupt and go on."""
    child = subprocess.Popen(["sleep", "600"])
    Path(path).write_text(f"{child.pid}\n")
    while True:
        with contextlib.suppress(Exception):
            time.sleep(60)


@job
def exit_quietly(path: str) -> None:
    """Leave the process as if all were well, over RQ's head."""
    with Path(path).open("a") as file:
        file.write("x")
    os._exit(0)


@job(webhook="https://hooks.example.com/declared")
def tell_where_declared() -> None:
    """Its end is told to where its task says."""
