"""From a call of a task and its options to a submission, for callers within this program.

Callers over HTTP give the same options in the query; `service.api` reads those.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from jobs import Task
from jobs.catalogue import Catalogue
from service.broker.chaining import check_chaining
from service.errors import OptionsInvalid, QueueNotFound, WebhooksOff
from service.settings import Settings
from service.submission import Once, Submission, digest
from service.webhooks.addresses import Allowed
from service.webhooks.target import TargetRefused, parse_target

LONGEST_DELAY = 3650 * 24 * 3600  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a job is to be run, apart from what its task is called with. Durations in seconds."""

    delay: float | None = None  #: from now until it is queued
    at: datetime | None = None  #: when it is queued; with a time zone
    expires: datetime | None = None  #: canceled if no worker has started it by then; the same
    queue: str | None = None  #: another than the task's own
    timeout: int | None = None
    result_ttl: int | None = None
    at_front: bool = False
    depends_on: Sequence[str] = ()  #: ids of the jobs that have to end before
    on_dependency_failure: Literal["fail", "run"] = "fail"
    result_as: str | None = None  #: the parameter that gets the only dependency's result
    results_as: str | None = None  #: or that gets the results of all, in the order of depends_on
    webhook: str | None = None
    idempotency_key: str | None = None  #: of all submissions that bear it one becomes a job

    def __post_init__(self) -> None:
        if self.delay is not None and self.at is not None:
            raise OptionsInvalid("Give either `delay` or `at`, not both.", errors=[])
        if isinstance(self.depends_on, str):
            raise OptionsInvalid("depends_on: a list of ids, also for one.", errors=[])
        for name, moment in (("at", self.at), ("expires", self.expires)):
            if moment is not None and moment.tzinfo is None:
                told = f"{name}: needs a time zone, as datetime.now(UTC) has."
                raise OptionsInvalid(told, errors=[])
        if self.delay is not None and self.delay < 0:
            raise OptionsInvalid("delay: seconds, 0 or more.", errors=[])
        if any(each is not None and each < 1 for each in (self.timeout, self.result_ttl)):
            raise OptionsInvalid("timeout and result_ttl: seconds, 1 or more.", errors=[])

    @property
    def moment(self) -> datetime | None:
        """When it is queued; None for at once."""
        if self.delay:
            return datetime.now(UTC) + timedelta(seconds=self.delay)
        return self.at if self.at and self.at > datetime.now(UTC) else None

    def given(self) -> dict[str, Any]:
        """Those that were given, by name."""
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}


def submission_of(
    task: Task[..., Any],
    parameters: dict[str, Any],
    options: Options,
    settings: Settings,
    catalogue: Catalogue,
) -> Submission:
    """The call as it will be enqueued; `parameters` are those that the task has accepted.

    Raises `OptionsInvalid`, `QueueNotFound` or `WebhooksOff`.
    """
    depends_on = tuple(options.depends_on)
    check_chaining(
        task,
        depends_on,
        options.on_dependency_failure,
        options.result_as,
        options.results_as,
        delayed=options.delay is not None or options.at is not None,
    )
    return Submission(
        task=task,
        parameters=parameters,
        queue=known_queue(options.queue, settings, catalogue),
        timeout=options.timeout,
        result_ttl=options.result_ttl,
        at_front=options.at_front,
        at=options.moment,
        expires=options.expires,
        depends_on=depends_on,
        on_dependency_failure=options.on_dependency_failure,
        result_as=options.result_as,
        results_as=options.results_as,
        webhook=accepted_webhook(options.webhook, settings),
        once=_once(task, parameters, options, settings.idempotency_ttl),
        queue_limit=settings.queue_limit,
    )


def known_queue(name: str | None, settings: Settings, catalogue: Catalogue) -> str | None:
    """The queue that the caller named, if any. Raises `QueueNotFound`."""
    if name is None:
        return None
    known = known_queues(settings, catalogue)
    if name not in known:
        raise QueueNotFound(f"There is no queue {name!r}. There are: {', '.join(known)}.")
    return name


def known_queues(settings: Settings, catalogue: Catalogue) -> list[str]:
    """Those that workers here serve, and those that tasks name."""
    return sorted({*settings.served_queues, *catalogue.queues()})


def accepted_webhook(url: str | None, settings: Settings) -> str | None:
    """The URL, once looked at; where its name resolves to is looked at when it is told.

    Raises `OptionsInvalid`, `WebhooksOff`.
    """
    if url is None:
        return None
    if not settings.webhook_secret:
        raise WebhooksOff
    try:
        parse_target(url, Allowed.parse(settings.webhook_allow))
    except TargetRefused as error:
        row = {"in": "query", "field": "webhook", "message": str(error)}
        raise OptionsInvalid(f"webhook: {error}.", errors=[row]) from error
    return url


def _once(
    task: Task[..., Any], parameters: dict[str, Any], options: Options, ttl: int
) -> Once | None:
    """As the header Idempotency-Key is kept; of all programs on this Redis, none over HTTP."""
    if options.idempotency_key is None:
        return None
    asked = {name: str(value) for name, value in options.given().items()}
    return Once(
        record=f"paddock:idempotency:{task.name}:{digest(['within', options.idempotency_key])}",
        fingerprint=digest(parameters, asked),
        ttl=ttl,
    )
