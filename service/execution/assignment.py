"""What a horse is handed, and what it hands back: the same for all kinds of horses."""

import json
import resource
import traceback
from collections.abc import Mapping
from typing import Any

from redis import Redis
from rq.exceptions import DeserializationError
from rq.job import Job

from jobs import PermanentFailure, Task
from jobs.catalogue import Catalogue
from service.execution.limits import peak_bytes
from service.execution.outcome import Kind, Outcome, Usage

_TOLD = ("task", "request_id")  # fields of its hash that are logged with all that is about it
_TRACE = ("traceparent", "tracestate")  # those that name the trace which it belongs to

LARGEST_RESULT = 64 * 2**20  # bytes; Redis holds it in memory, and refuses 512 MiB altogether


class NotInCatalogue(PermanentFailure):
    """The job names a function that this worker may not run."""


class Unreadable(PermanentFailure):
    """What Redis holds under the job's id is no job, or one that is not in JSON."""


class ResultTooLarge(PermanentFailure):
    """The task returned more than a job's result may hold; the work itself was done."""


class AwaitedCanceled(Exception):
    """What a job awaited was canceled, and not by its worker: another job's task, as a rule."""


class Canceled(BaseException):
    """Raised in a job that is to stop; no Exception, so that `except Exception` lets it pass."""


class KnownJob(Job):
    """RQ's, and where it comes from."""

    about: Mapping[str, str] = {}  #: what log records about it bear
    trace: Mapping[str, str] = {}  #: W3C's headers of the span that it belongs to
    span: Any = None  #: OpenTelemetry's of the execution, where there is one

    def know(self, fields: Mapping[bytes, bytes]) -> None:
        """Read it from the job's hash, in which anybody may have written anything."""
        known = {
            name: fields[name.encode()].decode(errors="replace")
            for name in (*_TOLD, *_TRACE)
            if name.encode() in fields
        }
        told = {name: known[name] for name in _TOLD if name in known}
        self.about = {"job": self.id, "queue": self.origin, **told}
        self.trace = {name: known[name] for name in _TRACE if name in known}


def about(job: Job) -> Mapping[str, str]:
    """What log records about this job bear."""
    return job.about if isinstance(job, KnownJob) else {}


def header_of(job: Job, execution_id: str) -> dict[str, Any]:
    """What a horse is told of a job, beside its data."""
    known = {"about": job.about, "trace": job.trace} if isinstance(job, KnownJob) else {}
    return {
        **known,
        "id": job.id,
        "execution": execution_id,
        "queue": job.origin,
        "timeout": job.timeout,
        "description": job.description,
        "meta": _readable(job.meta),
    }


def _readable(meta: Any) -> dict[str, Any]:
    """Nothing where it is no JSON object, which RQ marks so, or somebody wrote another value."""
    return meta if isinstance(meta, dict) and "unserialized" not in meta else {}


def job_of(header: dict[str, Any], data: bytes, connection: Redis) -> KnownJob:
    """The job, as its task finds it with `rq.get_current_job`."""
    job = KnownJob(connection=connection, serializer="json")
    job.about, job.trace = header.get("about", {}), header.get("trace", {})
    job._id = header["id"]
    job.data, job.origin, job.timeout = data, header["queue"], header["timeout"]
    job.description = header["description"]
    job.meta = header["meta"]
    return job


def task_of(job: Job, catalogue: Catalogue) -> Task[..., Any]:
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


def returned(result: Any, usage: Usage) -> Outcome:
    """The outcome of a job whose task returned this. Raises `ResultTooLarge`."""
    text = json.dumps(result)
    if len(text) > LARGEST_RESULT:
        raise ResultTooLarge(
            f"The result has {len(text)} bytes, more than the {LARGEST_RESULT} there may be. "
            "Write it to a file or a store, and return where it is"
        )
    return Outcome(Kind.RETURNED, usage, "returned", _encoded(text))


def raised(error: BaseException, task: Task[..., Any] | None, usage: Usage) -> Outcome:
    """The outcome of a job in which this was raised."""
    text = "".join(traceback.format_exception(error))
    may_retry = task is not None and task.policy.retries(error)
    return Outcome(Kind.RAISED, usage, type(error).__name__, _encoded(text), may_retry)


def as_header(outcome: Outcome) -> dict[str, Any]:
    """An outcome as it goes over the channel, beside its body."""
    usage = outcome.usage
    return {
        "kind": outcome.kind,
        "reason": outcome.reason,
        "may_retry": outcome.may_retry,
        "usage": {name: getattr(usage, name) for name in Usage.__slots__},
    }


def read_outcome(header: dict[str, Any], body: bytes) -> Outcome:
    """What a horse sent."""
    usage = Usage(**header["usage"])
    return Outcome(Kind(header["kind"]), usage, header["reason"], body, header["may_retry"])


def peak_rss() -> int:
    """The most memory that this process has held, in bytes."""
    return peak_bytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
