"""How far a job is, as it stands in its hash."""

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """What a job has last told of itself."""

    fraction: float | None  #: from 0 to 1
    message: str | None


def read_progress(field: bytes | None) -> Progress | None:
    """Of the hash's field `progress`; None where there is none, or where it can't be read."""
    if not field:
        return None
    try:
        told = json.loads(field)
        return Progress(told["fraction"], told["message"])
    except (ValueError, TypeError, KeyError):  # anybody may have written anything
        return None
