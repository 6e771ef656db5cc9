"""One root for all that can go wrong; what a caller can cause knows its HTTP status."""

from http import HTTPStatus
from typing import Any


class PaddockError(Exception):
    """Root of the service's errors. Its message says what is wrong and what to do."""


class SettingsInvalid(PaddockError):
    """A setting is wrong. The message names it."""


class RedisUnsuitable(PaddockError):
    """This Redis would break the promise that an accepted job is kept."""


class ServerFailed(PaddockError):
    """The embedded Redis server can't be started."""


class AlreadyRunning(PaddockError):
    """Another `paddock up` holds the data folder."""


class Problem(PaddockError):
    """An error that an HTTP caller is told of, as RFC 9457 describes.

    `slug` makes the stable `type`; `extra` are further members of the problem document.
    """

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    slug = "internal-error"
    title = "Something went wrong in Paddock"

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail, self.headers, self.extra = detail, headers or {}, extra

    def document(self) -> dict[str, Any]:
        """The problem document (RFC 9457 §3.1)."""
        return {
            "type": f"urn:paddock:problem:{self.slug}",
            "title": self.title,
            "status": int(self.status),
            "detail": self.detail,
            **self.extra,
        }


class MalformedBody(Problem):
    status, slug, title = HTTPStatus.BAD_REQUEST, "malformed-body", "The body can't be read"


class IdempotencyKeyMalformed(Problem):
    status, slug, title = (
        HTTPStatus.BAD_REQUEST,
        "malformed-idempotency-key",
        "The Idempotency-Key can't be read",
    )


class KeyMissing(Problem):
    status, slug, title = HTTPStatus.UNAUTHORIZED, "key-missing", "An API key is needed"


class RequestRefused(Problem):
    status, slug, title = HTTPStatus.FORBIDDEN, "request-refused", "This request is refused"


class TaskNotFound(Problem):
    status, slug, title = HTTPStatus.NOT_FOUND, "unknown-task", "There is no such task"


class JobNotFound(Problem):
    status, slug, title = HTTPStatus.NOT_FOUND, "unknown-job", "There is no such job"

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"There is no job {job_id!r}: it never was, was deleted, or its result has expired.",
            job=job_id,
        )


class BatchNotFound(Problem):
    status, slug, title = HTTPStatus.NOT_FOUND, "unknown-batch", "There is no such batch"

    def __init__(self, batch_id: str) -> None:
        super().__init__(
            f"There is no batch {batch_id!r}: it never was, or its results have expired.",
            batch=batch_id,
        )


class QueueNotFound(Problem):
    status, slug, title = HTTPStatus.NOT_FOUND, "unknown-queue", "There is no such queue"


class ScheduleNotFound(Problem):
    status, slug, title = HTTPStatus.NOT_FOUND, "unknown-schedule", "There is no such schedule"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is no schedule {name!r}. GET /schedules lists those there are.", schedule=name
        )


class ScheduleDeclared(Problem):
    """The schedule stands in the code; only there can it be changed."""

    status, slug, title = HTTPStatus.CONFLICT, "declared-schedule", "A task declares this schedule"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The schedule {name!r} is declared by @job(cron=…) on the task of this name: change "
            "it there and restart the workers, or give yours another name.",
            schedule=name,
        )


class ScheduleInvalid(Problem):
    """`errors` lists what fails: where (`in`, `field`) and why."""

    status, slug, title = (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "invalid-schedule",
        "The schedule is not valid",
    )


class StatusConflict(Problem):
    """The action does not fit the job's status, which the document names."""

    status, slug, title = HTTPStatus.CONFLICT, "status-conflict", "The job's status forbids this"


class AlreadySubmitted(Problem):
    """Another job stands for this submission: `job_id`. Callers over HTTP are shown that one.

    `is_replay` where the caller's Idempotency-Key names it; else the task is unique, and it lives.
    """

    status, slug, title = HTTPStatus.CONFLICT, "already-submitted", "There is such a job already"

    def __init__(self, job_id: str, *, is_replay: bool) -> None:
        super().__init__(f"The job {job_id} stands for this submission.", job=job_id)
        self.job_id, self.is_replay = job_id, is_replay


class JobGone(Problem):
    """The job that stands for a submission has ended, and nothing more is known of it."""

    status, slug, title = HTTPStatus.GONE, "job-gone", "The job was accepted, and is gone"

    def __init__(self, job_id: str, *, headers: dict[str, str]) -> None:
        super().__init__(
            f"Job {job_id} was accepted for this before, and was deleted or has expired since. "
            "Nothing was submitted now; a new Idempotency-Key, or none, submits anew.",
            headers=headers,
            job=job_id,
        )


class IdempotencyKeyReused(Problem):
    """The key named another request before."""

    status, slug, title = (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "idempotency-key-reused",
        "This Idempotency-Key belongs to another request",
    )

    def __init__(self, found: str, kind: str = "job") -> None:
        named: dict[str, Any] = {kind: found}
        super().__init__(
            f"This Idempotency-Key was used for {kind} {found}, with other parameters or options. "
            "Send the same again, or a new key with each new request.",
            **named,
        )


class QueueFull(Problem):
    """As many jobs wait as may; nothing was accepted."""

    status, slug, title = HTTPStatus.TOO_MANY_REQUESTS, "queue-full", "The queue is full"

    def __init__(self, queue: str, limit: int, retry_after: int) -> None:
        super().__init__(
            f"The queue {queue!r} is full: {limit} jobs may wait there (PADDOCK_QUEUE_LIMIT); "
            f"nothing was accepted. Try again in {retry_after} s, when some will have been taken.",
            headers={"Retry-After": str(retry_after)},
            queue=queue,
            limit=limit,
        )


class RequestTooSlow(Problem):
    """The connection is closed, since the rest of the body would be taken for a new request."""

    status, slug, title = HTTPStatus.REQUEST_TIMEOUT, "request-too-slow", "The body came too slowly"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Connection": "close"})


class BodyTooLarge(Problem):
    status, slug, title = (
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "body-too-large",
        "The body is too large",
    )


class BatchTooLarge(Problem):
    """More sets of parameters than one batch may hold."""

    status, slug, title = (
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "batch-too-large",
        "The batch is too large",
    )


class MediaTypeUnsupported(Problem):
    status, slug, title = (
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "unsupported-media-type",
        "This media type can't be read",
    )


class ParametersInvalid(Problem):
    """`errors` lists what fails: where (`in`, `field`) and why."""

    status, slug, title = (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "invalid-parameters",
        "The parameters do not fit the task",
    )


class OptionsInvalid(Problem):
    """Query parameters that do not validate; `errors` lists them."""

    status, slug, title = (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "invalid-options",
        "The options in the query are not valid",
    )


class DependencyUnknown(OptionsInvalid):
    """A job was to depend on one that does not exist."""

    def __init__(self, job_id: str) -> None:
        told = f"There is no job {job_id!r}: it never was, was deleted, or its result has expired."
        fault = {"in": "query", "field": "depends_on", "message": told}
        super().__init__(f"depends_on: {told} Nothing was accepted.", errors=[fault], job=job_id)


class WebhooksOff(Problem):
    """Nothing could be signed, and a receiver should believe nothing else."""

    status, slug, title = HTTPStatus.CONFLICT, "webhooks-off", "Webhooks are not set up"

    def __init__(self) -> None:
        super().__init__(
            "Set PADDOCK_WEBHOOK_SECRET, for this service and its workers, to have webhooks "
            "signed; docs/webhooks.md tells how."
        )


class RedisAway(Problem):
    """Redis can't be reached, or does not take writes: nothing was accepted."""

    status, slug, title = (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "redis-away",
        "Jobs can't be accepted now",
    )
    RETRY_AFTER = 2  # seconds; a restart of the embedded server takes about one

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail, headers={"Retry-After": str(self.RETRY_AFTER)}, **extra)
