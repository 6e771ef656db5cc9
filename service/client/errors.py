"""One root for all that a client raises; what the service answered carries its problem document."""

from collections.abc import Mapping
from typing import Any, ClassVar


class ClientError(Exception):
    """Root of the client's errors."""


class RequestFailed(ClientError):
    """A request came to nothing.

    `tries` tells how many times it was sent, `idempotency_key` which key it bore: to submit the
    same once more, later, give that one, and it is accepted once at most. `is_passing` says whether
    the same request may do better later, `retry_after` how many seconds the service asks to wait.
    """

    def __init__(
        self, *args: Any, is_passing: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(*args)
        self.is_passing, self.retry_after = is_passing, retry_after
        self.tries = 1
        self.idempotency_key: str | None = None


class ServiceUnreachable(RequestFailed):
    """No answer came: the connection failed, broke, or took too long. The cause is httpx's error.

    What was asked for may have been done all the same.
    """


class PaddockHTTPError(RequestFailed):
    """The service (or a proxy before it) refused.

    `status` is the HTTP status, `problem` the problem document (RFC 9457) that came with it.
    """

    slug: ClassVar[str | None] = None  #: last part of the problem's `type`

    def __init__(
        self,
        status: int,
        problem: Mapping[str, Any],
        *,
        is_passing: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(status, problem, is_passing=is_passing, retry_after=retry_after)
        self.status, self.problem = status, problem

    def __str__(self) -> str:
        return f"{self.status} {self.title}: {self.detail}".rstrip(": ")

    @property
    def type(self) -> str:
        """The problem's URI, which stays the same; `about:blank` where none was told."""
        return str(self.problem.get("type", "about:blank"))

    @property
    def title(self) -> str:
        """What is wrong, in short."""
        return str(self.problem.get("title", ""))

    @property
    def detail(self) -> str:
        """What is wrong in this case, and what to do."""
        return str(self.problem.get("detail", ""))


class KeyMissing(PaddockHTTPError):
    """The service asks for an API key, or does not know this one."""

    slug = "key-missing"


class RequestRefused(PaddockHTTPError):
    """The service does not go by the name in `base_url`."""

    slug = "request-refused"


class NotFound(PaddockHTTPError):
    """What the request names is not there."""


class TaskNotFound(NotFound):
    """The catalogue has no such task."""

    slug = "unknown-task"


class JobNotFound(NotFound):
    """The job never was, was deleted, or has expired."""

    slug = "unknown-job"


class BatchNotFound(NotFound):
    """The batch never was, or has expired."""

    slug = "unknown-batch"


class QueueNotFound(NotFound):
    """There is no such queue."""

    slug = "unknown-queue"


class StatusConflict(PaddockHTTPError):
    """The job's status, which is `job_status`, forbids this."""

    slug = "status-conflict"

    @property
    def job_status(self) -> str | None:
        """The status it has."""
        return self.problem.get("job_status")


class WebhooksOff(PaddockHTTPError):
    """The service has no secret that it could sign webhooks with."""

    slug = "webhooks-off"


class JobGone(PaddockHTTPError):
    """The job that stands for this submission was deleted or has expired; nothing was submitted."""

    slug = "job-gone"


class BodyTooLarge(PaddockHTTPError):
    """The parameters, or one set of a batch's, have more bytes than the service takes."""

    slug = "body-too-large"


class BatchTooLarge(PaddockHTTPError):
    """The batch has more jobs than the service takes at once; nothing was accepted."""

    slug = "batch-too-large"


class Invalid(PaddockHTTPError):
    """What was sent does not validate; nothing was accepted."""

    @property
    def errors(self) -> list[dict[str, Any]]:
        """What fails, a row each: where (`in`, `field`) and why (`message`)."""
        return list(self.problem.get("errors", ()))


class ParametersInvalid(Invalid):
    """The parameters do not fit the task."""

    slug = "invalid-parameters"


class OptionsInvalid(Invalid):
    """An option is not valid."""

    slug = "invalid-options"


class IdempotencyKeyReused(PaddockHTTPError):
    """The key belongs to a submission with other parameters or options."""

    slug = "idempotency-key-reused"


class QueueFull(PaddockHTTPError):
    """As many jobs wait as may; nothing was accepted. `retry_after` tells when some are done."""

    slug = "queue-full"


class RedisAway(PaddockHTTPError):
    """The service can't reach its Redis.

    With `in_doubt` in the problem, what was submitted may have been accepted all the same.
    """

    slug = "redis-away"


class AnswerUnreadable(ClientError):
    """The answer is none of Paddock's: is `base_url` right?"""


class WaitTimeout(ClientError, TimeoutError):
    """What was waited for did not end in time. It goes on all the same."""
