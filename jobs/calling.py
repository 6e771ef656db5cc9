"""Calling a task later, in the way of Celery's users: `task.delay(…)`, `.apply_async(…)`, `.s(…)`.

How a call becomes a job is the service's to know, which this package never imports. What is
installed beside it says so itself, by entry points of the group `paddock.calling`.
"""

import functools
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Literal, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, overload

from jobs.errors import ServiceMissing

P = ParamSpec("P")
T = TypeVar("T")
R_co = TypeVar("R_co", covariant=True)

ENTRY_POINTS = "paddock.calling"


class RetryPolicy(TypedDict, total=False):
    """How often a call is sent again while Redis is away. Times in seconds."""

    max_retries: int | None  #: 3 by default; None for as often as it takes
    interval_start: float  #: before the first retry
    interval_step: float  #: more for each one after
    interval_max: float


class CallOptions(TypedDict, total=False):
    """What `apply_async` and `set` take. Durations in seconds; None is as if not given."""

    countdown: float | None  #: from now until it is queued
    eta: datetime | None  #: when it is queued; with a time zone
    expires: float | datetime | None  #: from now, or when: not run any more
    queue: str | None  #: another than the task's own
    time_limit: float | None  #: that one execution may take
    task_id: str | None  #: the job's id
    retry: bool | None  #: whether it is sent again while Redis is away; True by default
    retry_policy: RetryPolicy | None
    link: Any  #: `other.s(…)`, or several, run after it with its result


class SubmittedJob(Protocol[R_co]):
    """A job, as whoever called the task sees it; in truth a `service.adapters.result.AsyncResult`.

    That tells more of it.
    """

    @property
    def id(self) -> str: ...

    @property
    def state(self) -> str: ...

    @property
    def result(self) -> Any: ...

    def ready(self) -> bool: ...

    def successful(self) -> bool: ...

    def failed(self) -> bool: ...

    @overload
    def get(
        self, timeout: float | None = None, propagate: Literal[True] = True, interval: float = ...
    ) -> R_co: ...

    @overload
    def get(
        self, timeout: float | None = None, propagate: bool = True, interval: float = ...
    ) -> Any: ...

    def revoke(self, *, terminate: bool = False) -> None: ...

    def forget(self) -> None: ...


class Signature(Protocol[R_co]):
    """A call that has not been made; in truth a `service.adapters.signatures.Signature`."""

    def set(self, **options: Unpack[CallOptions]) -> "Signature[R_co]": ...

    def delay(self, *args: Any, **kwargs: Any) -> SubmittedJob[R_co]: ...

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> SubmittedJob[R_co]: ...

    def __or__(self, other: Any) -> Any: ...


class Calling(Generic[P, R_co]):
    """The methods of a task that call it later."""

    @overload
    def delay(
        self: "Calling[P, Coroutine[Any, Any, T]]", *args: P.args, **kwargs: P.kwargs
    ) -> SubmittedJob[T]: ...

    @overload
    def delay(self, *args: P.args, **kwargs: P.kwargs) -> SubmittedJob[R_co]: ...

    def delay(self, *args: Any, **kwargs: Any) -> SubmittedJob[Any]:
        """Submit a job that calls it so, and return once that is kept.

        Raises what `service.adapters.calls.call` and `Enqueuer.submit` raise.
        """
        return self._signature(args, kwargs).apply_async()

    @overload
    def apply_async(
        self: "Calling[P, Coroutine[Any, Any, T]]",
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> SubmittedJob[T]: ...

    @overload
    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> SubmittedJob[R_co]: ...

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> SubmittedJob[Any]:
        """`delay`, with options: see `CallOptions`.

        Raises `TypeError` for one of Celery's that there is not, and says what to use instead.
        """
        return self._signature(args or (), kwargs or {}).apply_async(**options)

    @overload
    def s(
        self: "Calling[P, Coroutine[Any, Any, T]]", *args: Any, **kwargs: Any
    ) -> Signature[T]: ...

    @overload
    def s(self, *args: Any, **kwargs: Any) -> Signature[R_co]: ...

    def s(self, *args: Any, **kwargs: Any) -> Signature[Any]:
        """A call for later; of arguments that are not given yet, the result of a job before it
        becomes the first.
        """
        return self._signature(args, kwargs)

    @overload
    def si(
        self: "Calling[P, Coroutine[Any, Any, T]]", *args: P.args, **kwargs: P.kwargs
    ) -> Signature[T]: ...

    @overload
    def si(self, *args: P.args, **kwargs: P.kwargs) -> Signature[R_co]: ...

    def si(self, *args: Any, **kwargs: Any) -> Signature[Any]:
        """A call for later that takes no result of a job before it."""
        return self._signature(args, kwargs, immutable=True)

    @overload
    def AsyncResult(self: "Calling[P, Coroutine[Any, Any, T]]", job_id: str) -> SubmittedJob[T]: ...

    @overload
    def AsyncResult(self, job_id: str) -> SubmittedJob[R_co]: ...

    def AsyncResult(self, job_id: str) -> SubmittedJob[Any]:
        """A job of this task that was submitted before, here or elsewhere."""
        found: SubmittedJob[Any] = _service("result")(job_id, task=self)
        return found

    def _signature(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, immutable: bool = False
    ) -> Signature[Any]:
        made: Signature[Any] = _service("signature")(self, args, kwargs, immutable=immutable)
        return made


@functools.cache
def _service(name: str) -> Any:
    from importlib.metadata import entry_points  # here, since workers need neither it nor this

    for found in entry_points(group=ENTRY_POINTS, name=name):
        return found.load()
    raise ServiceMissing(name)
