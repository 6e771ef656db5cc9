"""Celery's canvas: calls one after the other, side by side, or both.

    chain(fetch_rows.s("monday"), report.s(title="Monday"))()
    group(resize_image.s(name) for name in names)()
    chord(count_words.s(page) for page in pages)(add_up.s())

Each call is a job with an id of its own from the start, and waits for others in Redis: once all is
submitted, nothing hangs on this process.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Unpack, cast

from jobs.calling import CallOptions
from service.adapters.group_result import GroupResult
from service.adapters.plan import Ends, Plan
from service.adapters.result import AsyncResult
from service.adapters.signatures import DELAYS, NOTHING, Call, Given, Signature, Work, over, work_of

__all__ = ["Signature", "chain", "chord", "group"]

_OF_LAST = ("task_id", "link")  # options that are for one job, or for what comes after it


class chain(Work):
    """Calls one after the other, each of which is given the result of the one before it."""

    def __init__(self, *works: Call | Iterable[Call]) -> None:
        super().__init__()
        self.tasks = [each for work in _spread(works) for each in _links(work)]

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.tasks))

    def __call__(self, *args: Any, **kwargs: Any) -> AsyncResult[Any] | GroupResult:
        """Submit it."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[Any] | GroupResult:
        """The last call's result, whose `parent` is that of the one before it, and so on.

        Of its options `countdown` and `eta` are for the first call, `task_id` and `link` for the
        last, the others for each.
        """
        return self._apply(args, kwargs, options)

    def lay(self, plan: Plan, after: Ends | None, given: Given = NOTHING) -> Ends:
        """As `Work.lay`. A group with a call after it is a chord."""
        if not self.tasks:
            raise TypeError("a chain of nothing; give it calls, chain(first.s(…), second.s(…))")
        options = over(self.options, given.options)
        first, *rest = self.tasks
        its = _without(options, () if not rest else _OF_LAST)
        ends = first.lay(plan, after, Given(given.args, given.kwargs, its))
        for number, each in enumerate(rest, start=1):
            its = _without(options, DELAYS if number == len(rest) else (*DELAYS, *_OF_LAST))
            ends = each.lay(plan, ends, Given(options=its))
        return ends


class group(Work):
    """Calls side by side: `group(a.s(1), b.s(2))`, or of an iterable."""

    def __init__(self, *works: Call | Iterable[Call]) -> None:
        super().__init__()
        self.tasks = _spread(works)

    def __repr__(self) -> str:
        return f"group({self.tasks!r})"

    def __len__(self) -> int:
        return len(self.tasks)

    def __call__(self, *args: Any, **options: Unpack[CallOptions]) -> GroupResult:
        """Submit it."""
        return self.apply_async(args, **options)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> GroupResult:
        """The results of all, in order. Arguments and options are for each call.

        Calls of one task with the same options, which wait for nothing, are a batch: all are
        accepted, or none. Of others some may be where an error is raised.
        """
        return cast(GroupResult, self._apply(args, kwargs, options))

    def lay(self, plan: Plan, after: Ends | None, given: Given = NOTHING) -> Ends:
        """As `Work.lay`."""
        options = over(self.options, given.options)
        for name in _OF_LAST:
            if name in options:
                raise TypeError(
                    f"{name}= is for one job, and this is a group: set it on one of its calls, or "
                    "on what comes after, group(…) | total.s()"
                )
        its = Given(given.args, given.kwargs, options)
        steps = [step for each in self.tasks for step in each.lay(plan, after, its).steps]
        are_calls = all(isinstance(each, Signature) for each in self.tasks)
        batch = plan.batch(steps) if are_calls else None
        return Ends(steps, after, is_group=True, batch=batch)


class chord(Work):
    """A group, and a call that is given its results as a list: `chord(header)(body)`."""

    def __init__(self, header: Call | Iterable[Call], body: Call | None = None) -> None:
        super().__init__()
        self.header = header if isinstance(header, group) else group(header)
        self.body = None if body is None else work_of(body)

    def __repr__(self) -> str:
        return f"chord({self.header!r}, {self.body!r})"

    def __call__(
        self, body: Call | None = None, **options: Unpack[CallOptions]
    ) -> AsyncResult[Any] | GroupResult:
        """Submit it, with this body."""
        whole = chord(self.header, self.body if body is None else body).set(**self.options)
        return whole.apply_async(**options)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallOptions],
    ) -> AsyncResult[Any] | GroupResult:
        """The body's result, whose `parent` is the header's. Options are as those of a chain."""
        return self._apply(args, kwargs, options)

    def lay(self, plan: Plan, after: Ends | None, given: Given = NOTHING) -> Ends:
        """As `Work.lay`."""
        if self.body is None:
            raise TypeError("a chord without a body; give it one, chord(header)(total.s())")
        its = Given(given.args, given.kwargs, over(self.options, given.options))
        return chain(self.header, self.body).lay(plan, after, its)


def _spread(works: Sequence[Any]) -> list[Work]:
    """Those that were given one by one, or in an iterable."""
    if len(works) == 1 and isinstance(works[0], Iterable) and not isinstance(works[0], Work):
        works = list(works[0])
    return [work_of(each) for each in works]


def _links(work: Work) -> list[Work]:
    """Of a chain without options of its own its calls, for they are the same in another chain."""
    return work.tasks if isinstance(work, chain) and not work.options else [work]


def _without(options: CallOptions, names: Sequence[str]) -> CallOptions:
    left = {name: each for name, each in options.items() if name not in names}
    return cast(CallOptions, left)
