"""What Celery's users give `apply_async` and `set`, in Paddock's terms."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from jobs.calling import CallOptions, RetryPolicy
from service.broker.intake import Options
from service.errors import OptionsInvalid

JOB_ID = re.compile(r"[A-Za-z0-9_-]+")  # as RQ would have it

_ROUTING = "name a queue instead, queue=…; RQ has nothing between a task and its queue"
_INTERNAL = "it is Celery's own way of keeping account, for which there is no need here"
_ONE_WAY_IN = (
    "a program submits through one door, PADDOCK_REDIS_URL; for another see "
    "service.adapters.door.standing_in"
)
_INSTEAD = {
    "serializer": "parameters travel as JSON, validated by the task's type hints",
    "compression": "jobs are compressed as they are",
    "exchange": _ROUTING,
    "routing_key": _ROUTING,
    "priority": "queues are served in the order of PADDOCK_QUEUES: give queue=…",
    "soft_time_limit": (
        "give time_limit=…: when it is over an exception is raised in the task, which is killed "
        "PADDOCK_TIMEOUT_GRACE seconds later"
    ),
    "link_error": (
        "nothing is run on failure alone. @job(webhook=…) has a URL told; a job with "
        "Options(depends_on=[…], on_dependency_failure='run') runs however the other one ended"
    ),
    "ignore_result": "a result is kept for the task's @job(result_ttl=…) seconds",
    "headers": "make it a parameter of the task",
    "shadow": "name the task, @job(name=…)",
    "producer": _ONE_WAY_IN,
    "publisher": _ONE_WAY_IN,
    "connection": _ONE_WAY_IN,
    "add_to_parent": _INTERNAL,
    "chord": _INTERNAL,
    "group_id": _INTERNAL,
    "group_index": _INTERNAL,
    "parent_id": _INTERNAL,
    "root_id": _INTERNAL,
    "reply_to": _INTERNAL,
    "result_cls": _INTERNAL,
    "router": _ROUTING,
    "delivery_mode": "every job is kept on disk, as PADDOCK_DURABILITY says",
    "mandatory": _ROUTING,
    "immediate": _ROUTING,
    "expiration": "give expires=…",
}


@dataclass(frozen=True, slots=True)
class SendingAgain:
    """What is done while Redis is away. Times in seconds; the defaults are Celery's."""

    most: int | None = 3  #: None for as often as it takes
    first: float = 0.0  #: pause before it is sent again
    step: float = 0.2  #: more for each time after that
    longest: float = 1.0

    def pauses(self) -> Iterator[float]:
        """One for each time that it is sent again."""
        number = 0
        while self.most is None or number < self.most:
            yield max(0.0, min(self.first + number * self.step, self.longest))
            number += 1


def checked(options: Mapping[str, Any]) -> CallOptions:
    """Those that are given (None is as if not), looked at one by one.

    Raises `TypeError` for one that there is not, and says what to use instead; `OptionsInvalid`
    for a value that can't be.
    """
    for name in options:
        if name not in CallOptions.__annotations__:
            raise TypeError(_refusal(name))
    given = cast(CallOptions, {name: each for name, each in options.items() if each is not None})
    if "countdown" in given and "eta" in given:
        raise TypeError("countdown and eta: give either")
    for name in ("eta", "expires"):
        _refuse_naive(name, given.get(name))
    if given.get("countdown", 0) < 0:  # type: ignore[operator]  # None has been left out
        raise OptionsInvalid("countdown: seconds, 0 or more.", errors=[])
    if given.get("time_limit", 1) <= 0:  # type: ignore[operator]
        raise OptionsInvalid("time_limit: seconds, more than 0.", errors=[])
    if not JOB_ID.fullmatch(given.get("task_id", "x") or ""):
        raise OptionsInvalid("task_id: letters, digits, _ and - only.", errors=[])
    sending_again(given)
    return given


def sending_again(given: CallOptions) -> SendingAgain:
    """Raises `TypeError` for a retry_policy with anything else in it than `RetryPolicy` has."""
    policy = given.get("retry_policy") or RetryPolicy()
    unknown = [name for name in policy if name not in RetryPolicy.__annotations__]
    if unknown:
        there = ", ".join(RetryPolicy.__annotations__)
        raise TypeError(f"retry_policy has no {', '.join(unknown)}; it may have: {there}")
    if not given.get("retry", True):
        return SendingAgain(most=0)
    default = SendingAgain()
    return SendingAgain(
        most=policy.get("max_retries", default.most),
        first=policy.get("interval_start", default.first),
        step=policy.get("interval_step", default.step),
        longest=policy.get("interval_max", default.longest),
    )


def in_our_terms(given: CallOptions) -> Options:
    """How the job is to be run, as far as these say."""
    limit = given.get("time_limit")
    return Options(
        delay=given.get("countdown"),
        at=given.get("eta"),
        expires=_moment(given.get("expires")),
        queue=given.get("queue"),
        timeout=None if limit is None else math.ceil(limit),
    )


def _moment(expires: float | datetime | None) -> datetime | None:
    if expires is None or isinstance(expires, datetime):
        return expires
    return datetime.now(UTC) + timedelta(seconds=expires)


def _refuse_naive(name: str, value: Any) -> None:
    if isinstance(value, datetime) and value.tzinfo is None:
        raise OptionsInvalid(f"{name}: needs a time zone, as datetime.now(UTC) has.", errors=[])


def _refusal(name: str) -> str:
    if name in _INSTEAD:
        return f"{name}= is Celery's, and not taken here: {_INSTEAD[name]}"
    return f"{name}= is no option of a call. There are: {', '.join(CallOptions.__annotations__)}"
