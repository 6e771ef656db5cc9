"""The process that runs jobs, from the inside: handed a job, it hands back how that ended.

It never speaks to Redis. Its worker records the outcome, so that one place decides what follows,
and a result is not lost while Redis is away.
"""

import contextlib
import json
import os
import resource
import signal
import time
from collections.abc import Iterator
from typing import Any, NoReturn

from redis import Redis
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException

from jobs import Task
from jobs.catalogue import Catalogue
from jobs.policy import Policy
from service.execution.assignment import (
    Canceled,
    KnownJob,
    as_header,
    job_of,
    peak_rss,
    raised,
    read_outcome,
    returned,
    task_of,
)
from service.execution.channel import Channel
from service.execution.job_context import within
from service.execution.limits import apply_limits
from service.execution.outcome import Kind, Outcome, Usage
from service.execution.reporting.capture import capture_alone, flush_streams, renew_streams
from service.tracing.export import flush_spans

CANCEL_SIGNAL = signal.SIGUSR1


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
    channel: Channel,
    pipes: dict[str, int],
    catalogue: Catalogue,
    connection: Redis,
    worker_name: str,
) -> NoReturn:
    """The life of a horse: run the jobs that come over the channel, until it is closed.

    What they report goes into the pipes. The connection is for jobs that ask RQ for themselves; it
    is made when they do.
    """
    os.environ["RQ_WORKER_ID"] = worker_name
    # Ctrl-C is the worker's to hear; it decides what becomes of the job.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cancel = _Cancel()
    signal.signal(CANCEL_SIGNAL, cancel.on_signal)
    stage = capture_alone(pipes)
    if not channel.has_arrived():
        _rehearse(connection)
    with contextlib.suppress(OSError):  # the worker is gone, and with it whoever would listen
        while (message := channel.receive()) is not None:
            header, data = message
            os.environ["RQ_JOB_ID"] = header["id"]
            job = job_of(header, data, connection)
            job.worker_name = worker_name
            renew_streams()
            stage.give_to(header["execution"])
            outcome = _perform(job, catalogue, cancel)
            flush_streams()
            stage.clear()
            stays = header["shared"] and not _has_children()
            channel.send({**as_header(outcome), "stays": stays}, outcome.body)
            if not stays:
                break
    flush_spans()  # of what the task has traced; the outcome is told
    os._exit(0)


def _has_children() -> bool:
    """Whether the job has left processes behind, whose output would be taken for the next one's."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


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
    job = job_of(_REHEARSED, _REHEARSED_DATA, connection)
    outcome = _perform(job, _REHEARSAL, _Cancel())
    read_outcome(json.loads(json.dumps(as_header(outcome))), outcome.body)


def _perform(job: KnownJob, catalogue: Catalogue, cancel: _Cancel) -> Outcome:
    started, cpu_before = time.monotonic(), _cpu_seconds()

    def usage() -> Usage:
        return Usage(time.monotonic() - started, _cpu_seconds() - cpu_before, peak_rss())

    task: Task[..., Any] | None = None
    with within(job):
        try:
            task = task_of(job, catalogue)
            apply_limits(task.policy)
            with _interruptible(job.timeout, cancel):
                result = task.run(*job.args, **job.kwargs)
            return returned(result, usage())
        except Canceled:
            return Outcome(Kind.CANCELED, usage(), "canceled")
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is told
            if isinstance(error, MemoryError) and task is not None and task.policy.memory:
                error = _explained(error, task.policy.memory)
            return raised(error, task, usage())


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
