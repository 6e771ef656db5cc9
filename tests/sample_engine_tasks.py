"""Tasks that test how the engine ends jobs."""

import hashlib
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from jobs import Retry, job


@job(timeout=3, retry=Retry(max=1))
def hash_in_c(path: str) -> None:
    """One call into C code that holds no door open for signals handlers, with a child beside it."""
    with Path(path).open("a") as file:
        child = subprocess.Popen(["sleep", "600"])
        file.write(f"{child.pid}\n")
    hashlib.pbkdf2_hmac("sha512", b"x", b"y", 400_000_000)


@job(timeout=60)
def clean_up_when_interrupted(path: str) -> None:
    """Leave a trace of having been told to stop."""
    try:
        Path(path).write_text("begun")
        time.sleep(60)
    finally:
        Path(path).write_text("cleaned up")


@job(timeout=60)
async def wait_async(path: str) -> None:
    """The same in an event loop."""
    import asyncio

    try:
        Path(path).write_text("begun")
        await asyncio.sleep(60)
    finally:
        Path(path).write_text("cleaned up")


@job(timeout=60)
def linger_at_first(path: str, seconds: float) -> None:
    """Note each run, and take a while the first time."""
    with Path(path).open("a+") as file:
        file.write("x")
        file.seek(0)
        runs = len(file.read())
    if runs == 1:
        time.sleep(seconds)


@job(timeout=60, retry=Retry(max=3))
def never_stop(path: str) -> None:
    """Refuse to be stopped."""
    with Path(path).open("a") as file:
        file.write("x")
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with suppress(BaseException):
            time.sleep(60)


@job(memory="64MiB")
def fill_memory(mebibytes: int) -> int:
    """Hold so much memory."""
    return len(b"x" * (mebibytes * 2**20))


@job(cpu_seconds=1, timeout=60)
def burn_cpu() -> None:
    """Work for ever."""
    while True:
        pass


@job(on_crash="fail")
def crash_once(path: str) -> None:
    """Segfault."""
    import ctypes

    with Path(path).open("a") as file:
        file.write("x")
    ctypes.string_at(0)


@job(isolation="shared", timeout=60)
def in_shared_process(do: str) -> int:
    """Return, raise, hang or crash, in a process that other jobs share."""
    import os

    match do:
        case "raise":
            raise ValueError("as told")
        case "hang":
            time.sleep(60)
        case "crash":
            os.abort()
    return os.getpid()
