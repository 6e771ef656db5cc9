"""How far a job is, as it stands in its hash."""

import json
from dataclasses import dataclass
from datetime import datetime

from service.broker.entries import moment


@dataclass(frozen=True, slots=True)
class Progress:
    """What a job has last told of itself."""

    fraction: float | None  #: from 0 to 1
    message: str | None
    at: datetime
    number: int  #: of the job's reports, from 1 on


def read_progress(field: str | bytes | None) -> Progress | None:
    """Of the hash's field `progress`; None where there is none, or where it can't be read."""
    if not field:
        return None
    try:
        told = json.loads(field)
        fraction, message = told["fraction"], told["message"]
        return Progress(
            None if fraction is None else float(fraction),
            None if message is None else str(message),
            moment(told["at"]),
            int(told["number"]),
        )
    except (ValueError, TypeError, KeyError, OverflowError):  # anybody may have written anything
        return None
