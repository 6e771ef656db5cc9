"""Tasks that tell of themselves, in every way there is and in each kind of process."""

import asyncio
import ctypes
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from jobs import Retry, job, logger, progress, track
from service.execution.reporting import capture

log = logging.getLogger("acme.tasks")


def say_all(name: str) -> None:
    """Print and log, in a certain order."""
    print(f"{name} out")
    print(f"{name} err", file=sys.stderr)
    logger.info("%s logged", name)
    print(f"{name} be", end="")
    print("gun", end="", flush=True)
    log.debug("%s is not told", name)
    print(" and ended")
    try:
        raise ValueError(f"{name} as told")
    except ValueError:
        log.exception("%s went wrong", name)
    print(f"{name} last", end="")


@job
def say_in_process(name: str) -> int:
    """Alone in its process."""
    say_all(name)
    assert sys.stdout.fileno() == 1 and sys.stderr.fileno() == 2
    return os.getpid()


@job(isolation="shared")
def say_shared(name: str) -> int:
    """One after another in a process."""
    say_all(name)
    return os.getpid()


@job(isolation="async")
async def say_in_loop(name: str) -> int:
    """Beside others in a loop."""
    await asyncio.sleep(0.05)
    say_all(name)
    await asyncio.gather(*(say_later(name, n) for n in range(3)))
    await asyncio.to_thread(print, f"{name} thread")
    await asyncio.get_running_loop().run_in_executor(None, print, f"{name} executor")
    return os.getpid()


async def say_later(name: str, number: int) -> None:
    await asyncio.sleep(0.02 * number)
    print(f"{name} task {number}")


@job(isolation="thread")
def say_in_thread(name: str) -> int:
    """Beside others in threads."""
    say_all(name)
    return os.getpid()


@job
def write_bytes() -> None:
    """What is no text, or is much of it."""
    sys.stdout.buffer.write(b"\xff\x00\n")
    print("ü" * 8192)
    print("x" * 8192)
    print("half of a pair: \ud800")
    sys.stderr.write("\r 10 %\r 20 %\r100 %\n")
    logger.info("y" * 7000)


@job
def write_below_python() -> None:
    """What never comes by sys.stdout."""
    subprocess.run("echo from a child; echo its error >&2", shell=True, check=True)
    libc = ctypes.CDLL(None)
    libc.puts(b"from C code")
    os.write(1, b"from the system\n")
    child = multiprocessing.get_context("fork").Process(target=print, args=("from a fork",))
    child.start()
    child.join()


@job
def leave_a_child_that_writes(path: str) -> int:
    """Return, while a process goes on that has the job's output."""
    child = subprocess.Popen(
        ["sh", "-c", f"while [ -e {path} ]; do sleep 0.1; done; echo late"], start_new_session=True
    )
    print("begun")
    return child.pid


@job(isolation="shared")
def leave_a_thread_that_prints(path: str) -> int:
    """Return, while a thread goes on that prints."""

    def go_on() -> None:
        while Path(path).exists():
            time.sleep(0.01)
            print("not mine any more")

    threading.Thread(target=go_on, daemon=True).start()
    return os.getpid()


@job(isolation="shared")
def leave_a_shared_child(path: str) -> int:
    """Return, while a process goes on in a horse that others are to use."""
    subprocess.Popen(["sleep", "60"])
    print("left")
    return os.getpid()


def _spoil() -> int:
    """Write rubbish into what reports go through, as one that takes it for its own would; the pid.

    Into that alone: an event loop, say, has pipes through which it is killed.
    """
    os.write(capture._stage.mouth._pipe, b"\xff" * 64)
    return os.getpid()


@job(isolation="shared")
def spoil_shared() -> int:
    """In a process that others use next."""
    return _spoil()


@job(isolation="async")
async def spoil_in_loop() -> int:
    """In a loop."""
    return _spoil()


@job(max_crashes=1)
def die_in_the_middle(lines: int) -> None:
    """Print, and be killed by the system."""
    progress(0.5, "about to die")
    for number in range(lines):
        print(f"line {number}")
    subprocess.run(["echo", "by a child"], check=True)
    print("not ended", end="")
    os.kill(os.getpid(), signal.SIGKILL)


@job(isolation="async", max_crashes=1)
async def die_in_loop(lines: int) -> None:
    """The same, in a process of many."""
    progress(0.5, "about to die")
    for number in range(lines):
        print(f"line {number}")
    print("not ended", end="")
    os.kill(os.getpid(), signal.SIGKILL)


@job(timeout=1)
def print_until_timeout() -> None:
    """Print as fast as it can, until it is stopped."""
    while True:
        print("x" * 100)


@job(timeout=60)
def print_without_end() -> None:
    """The same, with time to be canceled in."""
    print_until_timeout.function()


@job(isolation="async", timeout=60)
async def flood_the_loop(path: str, lines: int) -> None:
    """More than fits into a pipe, without waiting for anybody."""
    print("begun")
    while not Path(path).exists():
        await asyncio.sleep(0.01)
    for number in range(lines):
        print(f"{number} {'x' * 60}")
    progress(1.0, "told at last")
    Path(path).unlink()
    await asyncio.sleep(0)


@job
def print_many(lines: int) -> None:
    """So many."""
    for number in range(lines):
        print(f"line {number}")


@job(retry=Retry(max=1))
def fail_once(path: str) -> None:
    """Fail, and then succeed, with a word about each."""
    attempt = 1 if not Path(path).exists() else 2
    Path(path).touch()
    print(f"attempt {attempt}")
    if attempt == 1:
        progress(0.7, "about to fail")
        raise ConnectionError("as told")
    time.sleep(0.3)
    progress(message="again")


@job(timeout=60)
def go_step_by_step(path: str, steps: int) -> None:
    """A step each time that it is told to."""
    for step in track(range(steps), message="steps"):
        print(f"step {step}")
        while not Path(f"{path}-{step}").exists():
            time.sleep(0.01)


@job(isolation="async", timeout=60)
async def go_step_by_step_in_loop(path: str, steps: int) -> None:
    """The same, in a loop, by an iterator of which nobody knows the length."""

    async def each() -> object:
        for step in range(steps):
            yield step

    async for step in track(each(), message="steps"):
        print(f"step {step}")
        while not Path(f"{path}-{step}").exists():
            await asyncio.sleep(0.01)


@job
def track_many(count: int) -> int:
    """A loop that is much faster than anybody looks."""
    return sum(track(range(count)))


@job
def report_wrongly() -> None:
    """What raises outside of a worker raises in it."""
    progress(1.5)


@job
def report_and_print() -> None:
    """A little of each."""
    print("one")
    progress(0.5, "half")
    print("two")
