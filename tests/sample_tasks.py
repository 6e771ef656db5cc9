"""Tasks that tests submit: each does one thing that jobs do in real life."""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from jobs import PermanentFailure, Retry, job


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    street: str
    number: Annotated[int, Field(ge=1)] = 1


@dataclass
class Point:
    x: float
    y: float = 0.0


@job
def echo(value: Any = None) -> Any:
    """Return what it is given."""
    return value


@job
def describe(
    count: Annotated[int, Field(ge=0)],
    ratio: float = 0.5,
    name: str = "",
    flag: bool = False,
    when: datetime | None = None,
    key: UUID | None = None,
    color: Color = Color.RED,
    mode: Literal["fast", "slow"] = "fast",
    tags: Sequence[str] = (),
    sizes: dict[str, int] = {},  # noqa: B006
    address: Address | None = None,
    point: Point = Point(0, 0),  # noqa: B008
    blob: bytes = b"",
) -> dict[str, str]:
    """The Python type of each parameter, as the task saw it."""
    return {name: type(value).__name__ for name, value in locals().items()}


@job
async def echo_async(value: int) -> int:
    """Return it from an event loop."""
    return value


@job(timeout=60)
def sleep(seconds: float) -> float:
    """Wait, as if something slow were going on."""
    time.sleep(seconds)
    return seconds


@job(timeout=60)
def append_line(path: str, line: str, seconds: float = 0.0) -> None:
    """Leave a trace of each run in a file, then take a while."""
    with Path(path).open("a") as file:
        file.write(line + "\n")
    time.sleep(seconds)


@job(retry=Retry(max=2, interval=[1, 2]))
def fail_and_log(path: str) -> None:
    """Note the time, and fail."""
    with Path(path).open("a") as file:
        file.write(f"{time.time()}\n")
    raise ValueError("it never works")


@job(retry=Retry(max=3, never=KeyError))
def fail_as(kind: Literal["value", "key", "permanent", "exit"]) -> None:
    """Fail in one of the ways that matter to retries."""
    match kind:
        case "value":
            raise ValueError("retried")
        case "key":
            raise KeyError("never retried")
        case "permanent":
            raise PermanentFailure("no use")
        case "exit":
            raise SystemExit(3)


@job(retry=3)
def succeed_at(attempt: int, path: str) -> int:
    """Fail until this attempt."""
    with Path(path).open("a+") as file:
        file.write("x")
        file.seek(0)
        made = len(file.read())
    if made < attempt:
        raise ConnectionError(f"attempt {made} of {attempt}")
    return made


@job
def kill_own_process(times: int, path: str) -> str:
    """Die without a word, as under the out-of-memory killer; survive after so many times."""
    with Path(path).open("a+") as file:
        file.write("x")
        file.seek(0)
        runs = len(file.read())
    if runs <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"run {runs}"


@job
def return_unserializable() -> object:
    """Return what no JSON can carry."""
    return object()


@job(timeout=1)
def ignore_timeout() -> None:
    """Swallow the interrupt and go on, as careless code does."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with suppress(Exception):
            time.sleep(1)


@job(isolation="shared")
def echo_shared(value: Any = None) -> Any:
    """Return what it is given, in a process shared with others."""
    return value
