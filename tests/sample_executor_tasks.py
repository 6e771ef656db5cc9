"""Tasks that executors are tested with: small, and run in a process that jobs share."""

import time
from dataclasses import dataclass
from pathlib import Path

from jobs import Retry, job


@dataclass
class Parcel:
    """Something that comes back as an instance of its class."""

    weight: int


class Overweight(Exception):
    """An exception of one's own."""


class Undeliverable(Exception):
    """One that can't be made of its message."""

    def __init__(self, street: str, number: int) -> None:
        super().__init__(f"nobody lives at {number} {street}")


@job(isolation="shared")
def power(base: int, exponent: int) -> int:
    """As `pow`."""
    raised: int = pow(base, exponent)
    return raised


@job(isolation="shared")
def divide(dividend: int, divisor: int) -> tuple[int, int]:
    """As `divmod`."""
    return divmod(dividend, divisor)


@job(isolation="shared")
def multiply(x: int, y: int) -> int:
    """The product."""
    return x * y


@job(isolation="shared")
def spell(value: int = 0) -> str:
    """As `str`."""
    return str(value)


@job(isolation="shared", timeout=60)
def rest(seconds: float) -> None:
    """As `time.sleep`."""
    time.sleep(seconds)


@job(isolation="shared", timeout=60)
def rest_and_raise(seconds: float) -> None:
    """Fail, in a while."""
    time.sleep(seconds)
    raise Exception("this is an exception")


@job(isolation="shared")
def wrap(weight: int) -> Parcel:
    """What there can be a weak reference to."""
    return Parcel(weight)


@job(isolation="shared")
async def weigh(parcel: Parcel) -> int:
    """Take an instance, in an event loop."""
    return parcel.weight


@job(isolation="shared")
def post(parcel: Parcel) -> None:
    """Fail in one way or another."""
    if parcel.weight > 10:
        raise Overweight(f"{parcel.weight} kg")
    raise Undeliverable("Elm Street", parcel.weight)


@job(isolation="shared", timeout=60)
def hold(path: str, mark: str = "x") -> str:
    """Leave a mark, and wait for the file's folder to hold another, named `go`."""
    file = Path(path)
    with file.open("a") as marks:
        marks.write(mark)
    while not file.with_name("go").exists():
        time.sleep(0.02)
    return mark


@job(isolation="shared", retry=Retry(max=1, interval=600))
def try_again_later() -> None:
    """Fail, and be tried again when all have left."""
    raise ConnectionError("not now")


@job(isolation="shared")
def zero() -> int:
    """As `int`."""
    return 0


@job(isolation="shared")
def magnitude(value: int) -> int:
    """As `abs`."""
    return abs(value)


@job(isolation="shared")
def spell_out(text: str) -> int:
    """Take a long text."""
    return len(text)
