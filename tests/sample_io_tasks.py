"""Tasks that run together in one process: those that wait, and those that do what they must not."""

import asyncio
import os
import re
import signal
import sys
import threading
import time
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path

from rq import get_current_job

from jobs import Retry, job

colour: ContextVar[str] = ContextVar("colour", default="none")


@job(isolation="async")
async def wait(seconds: float = 0, value: int = 0, path: str = "", line: str = "") -> int:
    """Note a line, wait, and return the value."""
    if path:
        note(path, line or str(value))
    await asyncio.sleep(seconds)
    return value


@job(isolation="async", timeout=60)
async def wait_until_told(path: str, value: int = 0) -> int:
    """Note the value, and wait for a file; return the value."""
    note(path, str(value))
    while not Path(f"{path}.over").exists():
        await asyncio.sleep(0.05)
    return value


@job(isolation="thread", timeout=60)
def wait_in_thread_until_told(path: str, value: int = 0) -> int:
    """The same in a thread."""
    note(path, str(value))
    while not Path(f"{path}.over").exists():
        time.sleep(0.05)
    return value


@job(isolation="async")
async def succeed_in_loop(attempt: int, path: str) -> int:
    """Note that it ran, and wait a little."""
    note(path, "x")
    await asyncio.sleep(0.05)
    return attempt


def note(path: str, line: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{line}\n")


@job(isolation="async")
async def own_process() -> int:
    """Where it runs."""
    await asyncio.sleep(0.2)
    return os.getpid()


@job(isolation="async", retry=Retry(max=1))
async def misbehave(how: str) -> None:
    """Fail in a way that is this job's alone."""
    await asyncio.sleep(0.1)
    match how:
        case "raise":
            raise ValueError("as told")
        case "exit":
            sys.exit("as told")
        case "interrupt":
            raise KeyboardInterrupt
        case "cancel":
            raise asyncio.CancelledError
        case "cancel itself":
            asyncio.current_task().cancel()  # type: ignore[union-attr]
            await asyncio.sleep(60)
        case "child exits":
            child = asyncio.create_task(exit_later())
            await child
        case "unserializable":
            raise AssertionError(object())


async def exit_later() -> None:
    await asyncio.sleep(0.05)
    raise SystemExit("a task of the job")


@job(isolation="async")
async def tell_own_job(name: str) -> list[str]:
    """What it finds when it asks who it is, again and again beside others."""
    colour.set(name)
    seen = set()
    for _ in range(20):
        await asyncio.sleep(0.01)
        current = get_current_job()
        assert current is not None
        seen |= {current.id, current.kwargs["name"], colour.get(), await asyncio.create_task(ask())}
    return sorted(seen)


async def ask() -> str:
    await asyncio.sleep(0)
    current = get_current_job()
    assert current is not None
    return current.id


@job(isolation="async")
async def leave_tasks_behind(path: str) -> None:
    """Start what would go on for ever."""

    async def go_on() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            note(path, "ended")

    leave_tasks_behind.kept = asyncio.create_task(go_on())  # type: ignore[attr-defined]
    await asyncio.sleep(0.05)


@job(isolation="async")
async def leave_what_will_not_end(path: str) -> None:
    """Return, with a task that goes on whatever it is told."""

    async def go_on() -> None:
        while True:
            with suppress(asyncio.CancelledError):
                note(path, "tick")
                await asyncio.sleep(0.05)

    asyncio.create_task(go_on())  # noqa: RUF006
    await asyncio.sleep(0.1)


@job(isolation="async", timeout=1)
async def clean_up(path: str) -> None:
    """Take a moment to clean up when told to stop."""
    note(path, "begun")
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.1)
        note(path, "cleaned up")


@job(isolation="async", timeout=60)
async def clean_up_when_canceled(path: str) -> None:
    """The same, with time to be canceled in."""
    await clean_up.function(path)


@job(isolation="async", timeout=60)
async def never_stop(path: str) -> None:
    """Refuse to be canceled."""
    note(path, "begun")
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)


@job(isolation="async", timeout=1)
async def never_stop_at_timeout(path: str) -> None:
    """Refuse to be stopped by its timeout."""
    await never_stop.function(path)


@job(isolation="async", timeout=60)
async def block(seconds: float, path: str) -> int:
    """Do what a coroutine must not: hold the loop."""
    note(path, f"block {os.getpid()}")
    time.sleep(seconds)  # noqa: ASYNC251  # the line that is to be found out
    return os.getpid()


@job(isolation="async", timeout=60)
async def block_in_callback(seconds: float, path: str) -> None:
    """Hold the loop where no task can be blamed."""
    note(path, "callback")
    asyncio.get_running_loop().call_soon(time.sleep, seconds)
    await asyncio.sleep(60)


@job(isolation="async", timeout=60)
async def hold_the_lock(seconds: float, path: str) -> None:
    """Call into C code that lets no other thread run, so that nobody can look."""
    note(path, "lock")
    re.match(r"(a+)+$", "a" * 60 + "b")  # for longer than anybody will wait


@job(isolation="async")
async def kill_process(path: str, times: int) -> int:
    """Take the process down with all that is in it, so many times."""
    note(path, "x")
    runs = len(Path(path).read_text().splitlines())
    await asyncio.sleep(0.2)
    if runs <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return runs


@job(isolation="async", concurrency=2)
async def at_most_two(path: str) -> None:
    """Note when it begins and ends."""
    note(path, "+")
    await asyncio.sleep(0.2)
    note(path, "-")


@job(isolation="thread")
def wait_in_thread(seconds: float = 0, value: int = 0, path: str = "") -> list[int]:
    """Wait as a library does that knows nothing of event loops."""
    if path:
        note(path, str(value))
    current = get_current_job()
    assert current is not None and current.kwargs["value"] == value
    time.sleep(seconds)
    return [value, os.getpid(), threading.get_ident()]


@job(isolation="thread", timeout=1)
def spin_in_thread(path: str) -> None:
    """Python code that can be interrupted, and cleans up."""
    try:
        note(path, "begun")
        while True:
            time.sleep(0.01)
    finally:
        note(path, "cleaned up")


@job(isolation="thread", timeout=1)
def hang_in_thread(path: str) -> None:
    """One call that nothing can interrupt."""
    note(path, "begun")
    time.sleep(600)


@job(isolation="thread", timeout=60)
def hang_in_thread_for_long(path: str) -> None:
    """The same, with time to be canceled in."""
    note(path, "begun")
    time.sleep(600)


@job(isolation="thread")
def raise_in_thread(how: str) -> None:
    """Fail in a way that is this job's alone."""
    if how == "exit":
        sys.exit("as told")
    raise ValueError("as told")


@job(queue="io")
def in_process(value: int = 0) -> list[int]:
    """A task of another kind, on the same queue."""
    return [value, os.getpid()]
