"""Calls of tasks that have not been made yet: Celery's signatures."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, Unpack, cast

from jobs import Task, calling
from jobs.calling import CallOptions
from service.adapters.call_options import checked
from service.adapters.door import the_door
from service.adapters.group_result import GroupResult
from service.adapters.plan import Ends, Plan
from service.adapters.result import AsyncResult
from service.adapters.sending import send

if TYPE_CHECKING:
    from service.adapters.canvas import chain

R = TypeVar("R")

DELAYS = ("countdown", "eta")


@dataclass(frozen=True, slots=True)
class Given:
    """What a call is given, from outside, to what it has."""

    args: Sequence[Any] = ()  #: before its own
    kwargs: Mapping[str, Any] = field(default_factory=dict)  #: over its own
    options: CallOptions = field(default_factory=CallOptions)  #: unless it has its own


NOTHING = Given()


class Work(ABC):
    """One call, or several."""

    def __init__(self) -> None:
        self.options = CallOptions()  #: for each of its calls that has not its own

    def set(self, **options: Unpack[CallOptions]) -> Self:
        """Have it called so. Changes this one, and returns it. Raises as `apply_async`."""
        self.options = checked({**self.options, **options})
        for each in listed(self.options.get("link")):
            work_of(each)
        return self

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """`apply_async(args, kwargs)`."""
        return self.apply_async(args, kwargs)

    @abstractmethod
    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> Any:
        """Submit it. `args` come before those that its (first) call has, `kwargs` over them.

        Nothing is submitted where it is refused: with what `service.adapters.calls.call` raises for
        a call, and with `TypeError` or `OptionsInvalid` for options. Raises as
        `service.adapters.sending.send` where submitting fails.
        """

    @abstractmethod
    def lay(self, plan: Plan, after: Ends | None, given: Given = NOTHING) -> Ends:
        """Add its jobs to the plan, to run after those. Changes nothing but the plan."""

    def __or__(self, other: Any) -> "chain":
        from service.adapters.canvas import chain  # which is made of these

        return chain(self, work_of(other))

    def _apply(
        self,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: CallOptions,
    ) -> AsyncResult[Any] | GroupResult:
        work = copy.copy(self)
        work.options = over(checked(options), self.options)
        plan = Plan(the_door())
        ends = work.lay(plan, None, Given(args or (), kwargs or {}))
        plan.door.begin(send, plan).result()
        return plan.results(ends)


Call = Work | calling.Signature[Any]  # as type checkers see what `task.s(…)` returns


class Signature(Work, Generic[R]):
    """A call of a task, of which arguments may be missing still."""

    def __init__(
        self,
        task: Task[..., R],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        immutable: bool = False,
    ) -> None:
        """An immutable one takes neither a result nor further arguments."""
        super().__init__()
        self.task, self.args, self.kwargs = task, tuple(args), dict(kwargs or {})
        self.immutable = immutable

    def __repr__(self) -> str:
        given = [*map(repr, self.args), *(f"{name}={each!r}" for name, each in self.kwargs.items())]
        return f"{self.task.name}({', '.join(given)})"

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Call it here and now."""
        args, kwargs = self._merged(args, kwargs)
        return self.task(*args, **kwargs)

    def link(self, other: Any) -> Any:
        """Have `other` run after it, with its result. Returns `other`."""
        self.options = over(checked({"link": work_of(other)}), self.options)
        return other

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[R]:
        """Its result."""
        return cast(AsyncResult[R], self._apply(args, kwargs, options))

    def lay(self, plan: Plan, after: Ends | None, given: Given = NOTHING) -> Ends:
        """As `Work.lay`."""
        args, kwargs = self._merged(given.args, given.kwargs)
        options = over(self.options, given.options)
        takes_result = not self.immutable
        step = plan.add(self.task, args, kwargs, options, after, takes_result=takes_result)
        ends = Ends([step], after)
        for linked in listed(options.get("link")):
            work_of(linked).lay(plan, ends)
        return ends

    def _merged(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self.immutable:
            return self.args, self.kwargs
        return (*args, *self.args), {**self.kwargs, **kwargs}


def work_of(given: Any) -> Work:
    """The same. Raises `TypeError` where it is none."""
    if isinstance(given, Work):
        return given
    if isinstance(given, Task):
        raise TypeError(f"{given.name} is a task; give a call of it, {given.name}.s(…)")
    raise TypeError(f"{given!r} is no call of a task, as task.s(…) is one")


def listed(given: Any) -> list[Any]:
    """None, one or several of what is no sequence → a list of it."""
    match given:
        case None:
            return []
        case list() | tuple():
            return list(given)
    return [given]


def over(own: CallOptions, given: CallOptions) -> CallOptions:
    """Both; where they differ what is its own, but the links of both."""
    both = {**given, **own}
    if any(name in own for name in DELAYS):
        both = {name: each for name, each in both.items() if name in own or name not in DELAYS}
    if "link" in own and "link" in given:
        both["link"] = [*listed(given["link"]), *listed(own["link"])]
    return cast(CallOptions, both)
