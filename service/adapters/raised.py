"""What a failed job raised, in the process of whoever asks for its result."""

import ast
import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from service.adapters.errors import JobCanceled, JobFailed
from service.broker.records import JobRecord
from service.broker.status import Status
from service.failure import Failure

_TIMEOUT = "rq.timeouts.JobTimeoutException"


class JobTraceback(Exception):
    """Stands as the cause of a job's exception: where in the worker it was raised."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def result_of(job: JobRecord) -> Any:
    """The result of a job that has ended, as plain JSON data; raises what became of it instead."""
    if job.status is Status.FINISHED:
        return job.result
    error = error_in(job)
    if error is None:
        raise AssertionError(f"job {job.id} has not ended: {job.status}")
    raise error


def error_in(job: JobRecord) -> Exception | None:
    """What it ended with, other than its return; None where it has not ended so."""
    match job.status:
        case Status.FAILED if job.error is not None:
            return error_of(job.id, job.error)
        case Status.FAILED:
            return JobFailed(job.id, "Failure", "nothing is known of it", "")
        case Status.CANCELED:
            return JobCanceled(job.id)
    return None


def error_of(job_id: str, failure: Failure) -> Exception:
    """The job's own exception where it can be rebuilt, else `JobFailed`, which tells of it.

    It can where this process has loaded its type, and that says the same when it is made of the
    message. Nothing is imported for it: what stands in Redis must not decide what code is run.
    """
    rebuilt = (each for each in _candidates(failure) if _said(each) == failure.message)
    otherwise = JobFailed(job_id, failure.type, failure.message, failure.traceback)
    error = next(rebuilt, otherwise)
    error.__cause__ = JobTraceback(failure.traceback)
    return error


def _candidates(failure: Failure) -> Iterator[Exception]:
    if failure.type == _TIMEOUT:
        yield TimeoutError(failure.message)
        return
    kind = _loaded_type(failure.type)
    if kind is None:
        return
    for args in _possible_args(kind, failure.message):
        try:
            made = kind(*args)
        except Exception:  # noqa: BLE001  # its constructor is anybody's, and wants something else
            continue
        if isinstance(made, Exception):
            yield made


def _loaded_type(name: str) -> type[Exception] | None:
    module, _, qualname = name.rpartition(".")
    found: Any = sys.modules.get(module or "builtins")
    found = vars(found).get(qualname) if found else None  # `getattr` could import more of it
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _possible_args(kind: type[Exception], message: str) -> Iterator[tuple[Any, ...]]:
    yield (message,) if message else ()
    if issubclass(kind, KeyError):  # which says its key as Python writes it
        with contextlib.suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            yield (ast.literal_eval(message),)


def _said(error: Exception) -> str | None:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # as above
        return None
