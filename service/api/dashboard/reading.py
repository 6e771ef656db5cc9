"""Jobs and workers as upstream's pages expect them, read without ever unpickling anything."""

import json
import zlib
from typing import Any

from redis import Redis
from rq import worker_registration
from rq.exceptions import DeserializationError, NoSuchJobError
from rq.executions import WORKER_EXECUTIONS_KEY_TEMPLATE, Execution
from rq.job import Job
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.utils import get_call_string
from rq.worker import Worker
from rq_dashboard.web import serialize_date

JSONObject = dict[str, Any]

# What JSON, base64, zlib and RQ raise at data that somebody else wrote.
_UNREADABLE = (
    AssertionError,
    AttributeError,
    KeyError,
    RecursionError,
    TypeError,
    ValueError,
    zlib.error,
)


class JobUnreadable(Exception):
    """A job's hash holds what this RQ can't make sense of."""


def load(connection: Redis, job_id: str) -> Job:
    """Always with JSON: upstream's views unpickle results, metadata and arguments
    (upstream issue #379).

    Raises `NoSuchJobError`, and `JobUnreadable` with the reason.
    """
    try:
        return Job.fetch(job_id, connection=connection, serializer=JSONSerializer)
    except _UNREADABLE as error:
        if not connection.exists(Job.key_for(job_id)):
            raise NoSuchJobError from error  # RQ refuses ids of another form before it looks
        raise JobUnreadable(f"This job can't be read: {_reason(error)}") from error


def rows(connection: Redis, job_ids: list[str]) -> list[JSONObject]:
    """What the list of jobs shows, in one round trip (upstream issue #396).

    Upstream's reading also takes the ids of missing jobs out of the queue: a GET that changes
    state (no upstream issue known).
    """
    with connection.pipeline(transaction=False) as pipe:
        for job_id in job_ids:
            pipe.hgetall(Job.key_for(job_id))
            pipe.xrevrange(Result.get_key(job_id), count=1)
        replies = pipe.execute()
    found = zip(job_ids, replies[::2], replies[1::2], strict=True)
    return [_row(connection, job_id, fields, latest) for job_id, fields, latest in found if fields]


def details(connection: Redis, job_id: str) -> JSONObject:
    """What a job's page shows. Raises `NoSuchJobError`."""
    try:
        job = load(connection, job_id)
    except JobUnreadable as unreadable:
        return _unreadable(job_id, str(unreadable))
    result, exc_info = _outcome(job, connection.xrevrange(Result.get_key(job.id), count=1))
    return {
        **_dates(job),
        "id": job.id,
        "enqueued_at": serialize_date(job.enqueued_at),
        "origin": job.origin,
        "status": job.get_status(refresh=False),
        "description": job.description or call_string(job),
        "call": call_string(job),
        "result": result,
        "exc_info": exc_info,
        "metadata": _metadata(job),
        **_dependencies(job),
    }


def call_string(job: Job) -> str:
    """The call with its arguments in full, or the reason why they can't be shown."""
    try:
        return get_call_string(job.func_name, job.args, job.kwargs) or ""
    except (DeserializationError, *_UNREADABLE) as error:
        return _not_json("arguments", error.__cause__ or error)


def workers(connection: Redis) -> list[JSONObject]:
    """What the page of workers shows, in two round trips.

    `Worker.all` would raise the socket timeout of the connections, forget workers that are gone
    (a GET that changes state) and unpickle the job that each runs (upstream issue #379).
    """
    keys = sorted(worker_registration.get_keys(connection=connection))
    names = [key.removeprefix(Worker.redis_worker_namespace_prefix) for key in keys]
    with connection.pipeline(transaction=False) as pipe:
        for key, name in zip(keys, names, strict=True):
            pipe.hgetall(key)
            pipe.smembers(WORKER_EXECUTIONS_KEY_TEMPLATE.format(name))
        replies = pipe.execute()
    found = zip(names, replies[::2], replies[1::2], strict=True)
    shown = [_worker(connection, name, fields, runs) for name, fields, runs in found if fields]
    return sorted(shown, key=lambda worker: (worker["state"], worker["queues"], worker["name"]))


def _row(connection: Redis, job_id: str, fields: Any, latest: Any) -> JSONObject:
    try:
        job = Job(job_id, connection=connection, serializer=JSONSerializer)
        job.restore(fields)
    except (NoSuchJobError, *_UNREADABLE) as error:  # the first: a hash without the job's data
        return _unreadable(job_id, f"This job can't be read: {_reason(error)}")
    _result, exc_info = _outcome(job, latest)
    description = job.description or call_string(job)
    return {**_dates(job), "id": job.id, "description": description, "exc_info": exc_info}


def _unreadable(job_id: str, reason: str) -> JSONObject:
    unknown = ("created_at", "enqueued_at", "started_at", "ended_at", "exc_info")
    return {"id": job_id, "description": reason, "status": "unreadable"} | dict.fromkeys(unknown)


def _dates(job: Job) -> JSONObject:
    return {
        name: serialize_date(getattr(job, name))
        for name in ("created_at", "started_at", "ended_at")
    }


def _outcome(job: Job, latest: Any) -> tuple[str, str | None]:
    """The latest execution's result and error, both as text.

    Upstream answers 500 to a result that is not JSON (no upstream issue known; #510 is its like
    for metadata).
    """
    if not latest:
        return "", None
    entry_id, payload = latest[0]
    try:
        found = Result.restore(
            job.id, entry_id.decode(), payload, job.connection, serializer=JSONSerializer
        )
        if found.type is not Result.Type.SUCCESSFUL:
            return "", found.exc_string
        return json.dumps(found.return_value, indent=2, ensure_ascii=False), None
    except _UNREADABLE as error:
        return _not_json("result", error), None


def _metadata(job: Job) -> str:
    try:
        return json.dumps(job.meta, ensure_ascii=False)
    except TypeError:  # what RQ puts in the place of metadata it can't read: the bytes themselves
        return "The metadata can't be read as JSON, and nothing else is ever decoded here."


def _dependencies(job: Job) -> JSONObject:
    # Upstream decodes ids that RQ has decoded already (upstream issue #522; its mend, #530, is
    # not in 0.9.0).
    ids = sorted(job.dependency_ids)
    if not ids:
        return {}
    with job.connection.pipeline(transaction=False) as pipe:
        for dependency_id in ids:
            pipe.exists(Job.key_for(dependency_id))
        states = ["active" if exists else "expired" for exists in pipe.execute()]
    return {"depends_on": ids, "depends_on_status": states}


def _worker(connection: Redis, name: str, fields: Any, executions: Any) -> JSONObject:
    known = {key.decode(): value.decode(errors="replace") for key, value in fields.items()}
    return {
        "name": name,
        "queues": known.get("queues", "").split(","),
        "state": known.get("state", "?"),
        "current_job": _current_job(connection, sorted(run.decode() for run in executions)),
        "version": known.get("version", ""),
        "python_version": known.get("python_version", ""),
    }


def _current_job(connection: Redis, executions: list[str]) -> JSONObject | str:
    for execution in executions:
        run = Execution.from_composite_key(execution, connection=connection)
        if not connection.exists(run.key):
            continue  # it ended with its worker's death, and the worker's index still names it
        for row in rows(connection, [run.job_id]):
            return {**row, "job_id": row["id"], "call_string": row["description"]}
    return "idle"


def _not_json(what: str, error: BaseException) -> str:
    return (
        f"The {what} can't be read as JSON, and nothing else is ever decoded here "
        f"({_reason(error)})."
    )


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
