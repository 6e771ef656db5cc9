"""What the script that enqueues tells of a job that may have to wait for others, or for a place."""

from typing import Any

from rq.job import JobStatus
from rq.utils import as_text

from service.errors import DependencyUnknown

_UNKNOWN = "unknown "


def arrived_as(answer: list[Any]) -> JobStatus | None:
    """The status that the job has taken; None for the one that it was written with.

    Raises `DependencyUnknown` where it depends on a job that does not exist.
    """
    _new, *told = answer
    if not told:
        return None
    text = as_text(told[0])
    if text.startswith(_UNKNOWN):
        raise DependencyUnknown(text.removeprefix(_UNKNOWN))
    return JobStatus(text)
