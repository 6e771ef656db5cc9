"""The process that runs jobs, from the inside: handed a job, it hands back how that ended.

It never speaks to Redis. Its worker records the outcome, so that one place decides what follows,
and a result is not lost while Redis is away.
"""

import contextlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

from redis import Redis
from rq.exceptions import DeserializationError
from rq.job import Job, _current_job
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException

from jobs import PermanentFailure, Task
from jobs.catalogue import Catalogue
from jobs.policy import Policy
from service.execution.channel import Channel
from service.execution.limits import apply_limits, peak_bytes
from service.execution.outcome import Kind, Outcome, Usage

CANCEL_SIGNAL = signal.SIGUSR1
LARGEST_RESULT = 64 * 2**20  # bytes; Redis holds it in memory, and refuses 512 MiB altogether


class NotInCatalogue(PermanentFailure):
    """The job names a function that this worker may not run."""


class Unreadable(PermanentFailure):
    """What Redis holds under the job's id is no job, or one that is not in JSON."""


class ResultTooLarge(PermanentFailure):
    """The task returned more than a job's result may hold; the work itself was done."""


class Canceled(BaseException):
    """Raised in a job that is to stop; no Exception, so that `except Exception` lets it pass."""


class _Cancel:
    """A cancel may come before the job has begun; then it does not begin.

    A horse that was told to cancel is not used again, so this is never taken back.
    """

    def __init__(self) -> None:
        self.is_armed = self.is_requested = False

    def on_signal(self, *_: Any) -> None:
        self.is_requested = True
        if self.is_armed:
            raise Canceled

    def arm(self) -> None:
        """From here on it raises."""
        self.is_armed = True
        if self.is_requested:
            raise Canceled


def run_horse(
    channel: Channel, catalogue: Catalogue, connection: Redis, worker_name: str
) -> NoReturn:
    """The life of a horse: run the jobs that come over the channel, until it is closed.

    The connection is for jobs that ask RQ for themselves; it is made when they do.
    """
    os.environ["RQ_WORKER_ID"] = worker_name
    # Ctrl-C is the worker's to hear; it decides what becomes of the job.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cancel = _Cancel()
    signal.signal(CANCEL_SIGNAL, cancel.on_signal)
    if not channel.has_arrived():
        _rehearse(connection)
    with contextlib.suppress(OSError):  # the worker is gone, and with it whoever would listen
        while (message := channel.receive()) is not None:
            header, data = message
            job = _job(header, data, connection)
            job.worker_name = worker_name
            outcome = _perform(job, catalogue, cancel)
            _flush()
            channel.send(_as_header(outcome), outcome.body)
            if not header["shared"]:
                break
    os._exit(0)


def _nothing() -> None:
    pass


_REHEARSAL = Catalogue([Task(_nothing, None, Policy())])
_REHEARSED = {"id": "", "queue": "", "timeout": 1, "description": "", "meta": {}}
_REHEARSED_DATA = JSONSerializer.dumps((next(iter(_REHEARSAL)).path, None, (), {}))


def _rehearse(connection: Redis) -> None:
    """Run a job that does nothing, while the horse waits for its own.

    Every page of memory that it shares with the worker is copied when first touched: some 300 of
    them for any job, and 2 to 4 µs each, which the job then doesn't wait for.
    """
    outcome = _perform(_job(_REHEARSED, _REHEARSED_DATA, connection), _REHEARSAL, _Cancel())
    read_outcome(json.loads(json.dumps(_as_header(outcome))), outcome.body)


def read_outcome(header: dict[str, Any], body: bytes) -> Outcome:
    """What `run_horse` sent."""
    usage = Usage(**header["usage"])
    return Outcome(Kind(header["kind"]), usage, header["reason"], body, header["may_retry"])


def _job(header: dict[str, Any], data: bytes, connection: Redis) -> Job:
    os.environ["RQ_JOB_ID"] = header["id"]
    job = Job(connection=connection, serializer="json")
    job._id = header["id"]
    job.data, job.origin, job.timeout = data, header["queue"], header["timeout"]
    job.description = header["description"]
    job.meta = header["meta"]
    return job


def _as_header(outcome: Outcome) -> dict[str, Any]:
    usage = outcome.usage
    return {
        "kind": outcome.kind,
        "reason": outcome.reason,
        "may_retry": outcome.may_retry,
        "usage": {name: getattr(usage, name) for name in Usage.__slots__},
    }


def _perform(job: Job, catalogue: Catalogue, cancel: _Cancel) -> Outcome:
    started, cpu_before = time.monotonic(), _cpu_seconds()

    def outcome(kind: Kind, reason: str, body: str = "", may_retry: bool = False) -> Outcome:
        usage = Usage(time.monotonic() - started, _cpu_seconds() - cpu_before, _peak_rss())
        return Outcome(kind, usage, reason, body.encode("utf-8", "backslashreplace"), may_retry)

    task: Task[..., Any] | None = None
    token = _current_job.set(job)
    try:
        task = _task(job, catalogue)
        apply_limits(task.policy)
        with _interruptible(job.timeout, cancel):
            result = task.run(*job.args, **job.kwargs)
        return outcome(Kind.RETURNED, "returned", _dumped(result))
    except Canceled:
        return outcome(Kind.CANCELED, "canceled")
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is told
        if isinstance(error, MemoryError) and task is not None and task.policy.memory:
            error = _explained(error, task.policy.memory)
        text = "".join(traceback.format_exception(error))
        may_retry = task is not None and task.policy.retries(error)
        return outcome(Kind.RAISED, type(error).__name__, text, may_retry)
    finally:
        _current_job.reset(token)


def _task(job: Job, catalogue: Catalogue) -> Task[..., Any]:
    """The task that the job names. RQ would import any dotted path, `os.system` as well."""
    try:
        task = catalogue.at(job.func_name)
    except DeserializationError as error:
        raise Unreadable(f"This is not a job in JSON ({job.description})") from error
    if task is None:
        raise NotInCatalogue(
            f"{job.func_name} is not a task of this worker's catalogue; "
            "PADDOCK_TASKS names the modules that are loaded"
        )
    return task


def _dumped(result: Any) -> str:
    text = json.dumps(result)
    if len(text) > LARGEST_RESULT:
        raise ResultTooLarge(
            f"The result has {len(text)} bytes, more than the {LARGEST_RESULT} there may be. "
            "Write it to a file or a store, and return where it is"
        )
    return text


@contextlib.contextmanager
def _interruptible(timeout: float | None, cancel: _Cancel) -> Iterator[None]:
    """Have the timeout and a cancel raise in the job, so that it can clean up."""

    def on_timeout(*_: Any) -> None:
        raise JobTimeoutException(f"Task exceeded its timeout of {timeout} s")

    signal.signal(signal.SIGALRM, on_timeout)
    if timeout and timeout > 0:
        signal.setitimer(signal.ITIMER_REAL, timeout)
    try:
        cancel.arm()
        yield
    finally:
        cancel.is_armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)


def _explained(error: MemoryError, limit: int) -> MemoryError:
    explained = MemoryError(f"The job needed more than its limit of {limit / 2**20:g} MiB")
    return explained.with_traceback(error.__traceback__)


def _cpu_seconds() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _peak_rss() -> int:
    return peak_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _flush() -> None:
    """What the job printed: a horse ends without the interpreter's farewell."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
