"""The options of a submission: how jobs are to be run, apart from what their task gets."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, TypedDict

from service.client.jobs import Job


class BatchOptions(TypedDict, total=False):
    """How each job of a batch is to be run."""

    delay: float | None  #: seconds from now until it is queued
    at: datetime | None  #: when it is queued, with a time zone; not together with `delay`
    expires_in: float | None  #: seconds after which it is not begun any more
    queue: str | None  #: another queue than the task's own
    timeout: int | None  #: seconds one execution may take
    result_ttl: int | None  #: seconds the finished job is kept
    at_front: bool  #: put it at the front of its queue
    webhook: str | None  #: URL that gets a signed POST when the job has ended


class SubmitOptions(BatchOptions, total=False):
    """The same, for one job, which may wait for others, or be waited for."""

    depends_on: str | Job | Iterable[str | Job] | None  #: jobs to wait for, or their ids
    on_dependency_failure: Literal["fail", "run"]  #: what it does if one of them does not finish
    result_as: str | None  #: the parameter that is given the result of the job it depends on
    results_as: str | None  #: the parameter that is given the results of those it depends on
    wait: float | None  #: seconds to wait for its end before answering


def as_query(options: Mapping[str, Any], known: Any) -> dict[str, str]:
    """The options as a query, without those that say nothing: None, False, no ids.

    Raises `TypeError` for one that `known`, a TypedDict, does not have.
    """
    if unknown := sorted(set(options) - known.__optional_keys__):
        raise TypeError(
            f"{', '.join(unknown)}: no such option. What the task is to get goes into one "
            f"mapping: submit(task, {{{unknown[0]!r}: …}})"
        )
    texts = {name: _text(value) for name, value in options.items()}
    return {name: text for name, text in texts.items() if text is not None}


def _text(value: Any) -> str | None:
    match value:
        case None | False:
            return None
        case True:
            return "true"
        case datetime():
            return value.isoformat()
        case str() | int() | float():
            return str(value)
        case Job():
            return value.id
        case _:
            return ",".join(each.id if isinstance(each, Job) else each for each in value) or None
