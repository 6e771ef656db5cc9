"""Tasks that tell how, and in which order, they are run."""

import asyncio
from pathlib import Path

from rq import get_current_job

from jobs import PermanentFailure, Retry, job, track
from service.adapters.jobs import BlockingJobs, Jobs


@job
def note(path: str, line: str) -> None:
    """Leave a line."""
    with Path(path).open("a") as file:
        file.write(f"{line}\n")


@job(queue="cpu")
def note_on_cpu(path: str, line: str) -> None:
    """The same, on another queue."""
    note(path, line)


@job
def tell_how_far(rows: int) -> None:
    """Get halfway."""
    for row in track(range(rows), message="rows"):
        print(row)
        if row == rows // 2:
            raise ValueError("in the middle")


@job
def submit_others(path: str, depth: int) -> str:
    """Have two more do the same, until it is deep enough."""
    note(path, str(depth))
    for _ in range(2 if depth else 0):
        BlockingJobs().submit(submit_others, path, depth - 1)
    return f"depth {depth}"


@job
async def submit_from_a_loop(path: str) -> None:
    """Submit another from within an event loop."""
    await asyncio.sleep(0)
    await Jobs().submit(note, path, "from a loop")


@job(retry=Retry(max=2, interval=[1, 0], on=OSError, never=(PermissionError, FileNotFoundError)))
def fail_in_kind(kind: str) -> None:
    """Fail in one of the ways that a policy tells apart."""
    kinds = {
        "retried": ConnectionResetError,
        "not on the list": KeyError,
        "never": PermissionError,
        "permanent": PermanentFailure,
        "exit": SystemExit,
        "canceled": asyncio.CancelledError,
    }
    raise kinds[kind](f"as told: {kind}")


@job(retry=Retry(max=2, interval=[600, 0]))
def fail_for_long() -> None:
    """Fail, and be tried again much later."""
    raise ConnectionError("away")


@job
def tell_of_itself() -> list[object]:
    """What the job knows of itself."""
    current = get_current_job()
    assert current is not None
    return [current.origin, current.timeout, current.description, current.worker_name is not None]


def reach_out() -> None:
    """What tests replace."""
    raise ConnectionRefusedError("there is nobody")


@job
def do_as_replaced() -> None:
    """Do what is out of a test's reach."""
    reach_out()


@job
def submit_itself() -> None:
    """For ever."""
    BlockingJobs().submit(submit_itself)


@job(webhook="https://hooks.example.com/declared")
def tell_others(number: int) -> int:
    """Have a URL told."""
    return number
