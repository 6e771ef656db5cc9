"""`@job`: a plain typed function becomes a task."""

import asyncio
import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal, NoReturn, ParamSpec, TypeVar, overload

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json

from jobs.calling import Calling
from jobs.concurrency import check_key, limit_key
from jobs.errors import DeclarationError
from jobs.parameters import JSONObject, Parameters, Result
from jobs.policy import (
    DEFAULT_FAILURE_TTL,
    DEFAULT_MAX_CRASHES,
    DEFAULT_QUEUE,
    DEFAULT_RESULT_TTL,
    DEFAULT_TIMEOUT,
    IO_QUEUE,
    TOGETHER,
    ConcurrencyKey,
    Isolation,
    PermanentFailure,
    Policy,
    Retry,
    parse_memory,
)
from jobs.schedule import DEFAULT_MISSED, DEFAULT_TIMEZONE, Missed, Schedule

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

declared: "list[Task[..., Any]]" = []  #: every task declared in this process, in order


class ParametersRefused(PermanentFailure):
    """The job's parameters no longer fit the task, as after a deploy that changed its signature."""


class Task(Calling[P, R_co]):
    """A function in the catalogue. Calling it is calling the function."""

    def __init__(self, function: Callable[P, R_co], name: str | None, policy: Policy) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = name or function.__name__
        self.policy = policy
        self.schedule: Schedule | None = None  #: where @job(cron=…) gives it one
        self.description = inspect.getdoc(function) or ""
        self.module = function.__module__
        self.source = f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
        self.parameters = Parameters(function)
        self.result = Result(function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return self.function(*args, **kwargs)

    def __reduce__(self) -> str:
        return self.function.__qualname__  # by reference, as functions are pickled and copied

    def __repr__(self) -> str:
        return f"<Task {self.name} from {self.source}>"

    def accept(self, *args: P.args, **kwargs: P.kwargs) -> JSONObject:
        """This call as a job carries it: plain JSON data. Raises as `accept_values` does."""
        return self.parameters.accept_values(args, kwargs)

    @property
    def path(self) -> str:
        """The dotted path that RQ jobs of this task carry; any RQ worker can import it."""
        return f"{self.module}.{self.function.__qualname__}.run"

    def limit(self, parameters: dict[str, Any]) -> tuple[str, int] | None:
        """The limit that such a job is under: the key it shares with others, and how many run.

        `parameters` are those that `parameters.accept` returns.
        """
        if self.policy.concurrency is None:
            return None
        key = limit_key(self.name, self.policy.concurrency_key, self.parameters, parameters)
        return key, self.policy.concurrency

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Run it as a job: plain JSON data in and out, its retry policy applied to what it raises.

        This is what workers call, Paddock's as well as a stock `rq worker -S json`.
        """
        function: Callable[..., Any] = self.function
        with self._told_whether_to_retry():
            outcome = function(**self._rebuild(args, kwargs))
            if inspect.iscoroutine(outcome):
                outcome = asyncio.run(outcome)
            return self.result.dump(outcome)

    async def run_in_loop(self, *args: Any, **kwargs: Any) -> Any:
        """The same, of an `async def` task, in the event loop that runs already."""
        function: Callable[..., Any] = self.function
        with self._told_whether_to_retry():
            return self.result.dump(await function(**self._rebuild(args, kwargs)))

    @contextlib.contextmanager
    def _told_whether_to_retry(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if not self.policy.retries(error):
                _end_retries()
            raise

    def _rebuild(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return self.parameters.rebuild(args, kwargs)
        except (ValidationError, TypeError) as error:
            raise ParametersRefused(f"{self.name}: {error}") from error


def _end_retries() -> None:
    """Spend the retries that RQ would still give to the job this process is running."""
    from rq import get_current_job  # here, so that declaring tasks doesn't import RQ

    current = get_current_job()
    if current is not None:
        current.retries_left = 0


@overload
def job(function: Callable[P, R], /) -> Task[P, R]: ...


@overload
def job(
    *,
    name: str | None = None,
    queue: str | None = None,
    timeout: int = DEFAULT_TIMEOUT,
    retry: Retry | int | None = None,
    result_ttl: int = DEFAULT_RESULT_TTL,
    failure_ttl: int = DEFAULT_FAILURE_TTL,
    on_crash: Literal["requeue", "fail"] = "requeue",
    max_crashes: int = DEFAULT_MAX_CRASHES,
    memory: int | str | None = None,
    cpu_seconds: int | None = None,
    isolation: Isolation = "process",
    concurrency: int | None = None,
    concurrency_key: ConcurrencyKey | None = None,
    unique: bool = False,
    webhook: str | None = None,
    cron: str | None = None,
    timezone: str = DEFAULT_TIMEZONE,
    missed: Missed = DEFAULT_MISSED,
    cron_parameters: dict[str, Any] | None = None,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def job(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    queue: str | None = None,
    retry: Retry | int | None = None,
    memory: int | str | None = None,
    isolation: Isolation = "process",
    cron: str | None = None,
    timezone: str | None = None,
    missed: Missed | None = None,
    cron_parameters: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Declare a task. Its parameters are described by type hints, its purpose by the docstring.

    Parameters
    - name: what it is submitted as; the function's own name if not given
    - queue: the queue its jobs wait on; "default" if not given, and "io" with isolation "async" or
      "thread"
    - timeout: seconds one execution may take
    - retry: a `Retry`, or the number of immediate retries
    - result_ttl, failure_ttl: seconds a finished or failed job is kept; -1 for ever
    - on_crash, max_crashes: what becomes of a job whose process died (it is queued again, up to so
      many times; or failed)
    - memory, cpu_seconds: what one execution may use, `"512MiB"` or bytes
    - isolation: "process" runs each job in a process of its own; "shared" runs many short, trusted
      ones in one after another, which is faster. For jobs that mostly wait, hundreds at once in one
      process of the io worker: "async" for an `async def`, "thread" for a plain function
    - concurrency: how many of its jobs may run at once, over all workers and hosts
    - concurrency_key: so many for each value of this parameter, or of a function that is called
      with all parameters by name
    - unique: of jobs with the same parameters only one waits or runs at a time; who submits another
      is given that one
    - webhook: URL that is told how each job ended, unless its submission names another
    - cron, timezone: when it is enqueued by itself, `"0 3 * * *"` on the clocks of
      `"Europe/Berlin"`; a sixth field is for seconds
    - missed: what becomes of the times at which no scheduler ran: "skip" them, run "once" for all
      of them, or run "all"
    - cron_parameters: what it is called with then

    Raises `DeclarationError`, which names the function's file and line.
    """

    def declare(function: Callable[..., Any]) -> Task[..., Any]:
        _refuse_what_workers_cannot_call(function)
        _refuse_what_does_not_fit(function, isolation)
        try:
            policy = Policy(
                queue=_default_queue(isolation) if queue is None else queue,
                isolation=isolation,
                retry=Retry(retry) if isinstance(retry, int) else retry,
                memory=parse_memory(memory),
                **options,
            )
            task = Task(function, name, policy)
            check_key(policy.concurrency_key, task.parameters)
            task.schedule = _schedule(task, cron, timezone, missed, cron_parameters)
        except (TypeError, ValueError, NameError) as error:
            _refuse(function, str(error), error)
        if not task.name.replace("-", "_").isidentifier():
            _refuse(function, f"name={task.name!r}: letters, digits, _ and - only")
        declared.append(task)
        return task

    return declare if function is None else declare(function)


def _default_queue(isolation: Isolation) -> str:
    return IO_QUEUE if isolation in TOGETHER else DEFAULT_QUEUE


def _schedule(
    task: Task[..., Any],
    cron: str | None,
    timezone: str | None,
    missed: Missed | None,
    parameters: dict[str, Any] | None,
) -> Schedule | None:
    if cron is None:
        if (timezone, missed, parameters) != (None, None, None):
            raise ValueError("timezone, missed and cron_parameters need a cron=…")
        return None
    try:
        accepted = task.parameters.accept(to_json(parameters or {}))
    except PydanticSerializationError as error:
        raise ValueError(f"cron_parameters: {error}") from error
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ValueError(f"cron_parameters={parameters or {}}: {told}") from error
    return Schedule(
        cron=cron,
        timezone=timezone or DEFAULT_TIMEZONE,
        missed=missed or DEFAULT_MISSED,
        parameters=accepted,
    )


def _refuse_what_workers_cannot_call(function: Any) -> None:
    if not inspect.isfunction(function):
        raise DeclarationError(
            f"{_declaring_line()}: @job goes on a plain function, this is {function!r}"
        )
    if "<locals>" in function.__qualname__ or "." in function.__qualname__:
        _refuse(function, "workers import tasks by name; move it to the top level of its module")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        _refuse(function, "a generator has no single result; return a value instead of yielding")


def _refuse_what_does_not_fit(function: Callable[..., Any], isolation: Isolation) -> None:
    is_async = inspect.iscoroutinefunction(function)
    if isolation == "async" and not is_async:
        _refuse(
            function,
            "isolation='async' is for `async def`; a plain function would stop all jobs of its "
            "event loop. One that mostly waits may say isolation='thread'",
        )
    if isolation == "thread" and is_async:
        _refuse(function, "isolation='thread' is for plain functions; this may say 'async'")


def _declaring_line() -> str:
    """Where `@job` stands, for what is no function and so can't tell by itself."""
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _refuse(
    function: Callable[..., Any], reason: str, cause: BaseException | None = None
) -> NoReturn:
    code = function.__code__
    raise DeclarationError(
        f"{code.co_filename}:{code.co_firstlineno}: {function.__qualname__}: {reason}"
    ) from cause
