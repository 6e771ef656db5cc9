"""The jobs that a composition of calls comes to: which they are, and which wait for which.

All parameters and options are checked, and all ids chosen, before anything is submitted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from jobs import Task
from jobs.calling import CallOptions
from service.adapters.call_options import in_our_terms
from service.adapters.calls import call
from service.adapters.door import Door
from service.adapters.group_result import GroupResult
from service.adapters.result import AsyncResult
from service.broker.enqueuer import new_job_id
from service.broker.intake import submission_of
from service.errors import OptionsInvalid
from service.submission import Submission


@dataclass(eq=False, slots=True)
class Step:
    """One job."""

    submission: Submission
    options: CallOptions
    after: "Ends | None"
    job_id: str  #: chosen; once it is sent, that of the job which stands for it
    rank: int  #: how many others have to be sent before it, one after the other
    result: AsyncResult[Any] | None = None  #: once it is sent


@dataclass(eq=False, slots=True)
class Batch:
    """Steps that are calls of one task, and wait for nothing: all are accepted, or none."""

    steps: Sequence[Step]
    submission: Submission  #: of the batch; it bears a key, so that it can be sent again
    id: str | None = None  #: once it is sent


@dataclass(eq=False, slots=True)
class Ends:
    """The steps that a part of the composition ends with."""

    steps: Sequence[Step]
    after: "Ends | None"
    is_group: bool = False  #: what comes next is given a list of results
    batch: Batch | None = None
    result: AsyncResult[Any] | GroupResult | None = None  #: once they are sent

    def awaited(self) -> Sequence[Step]:
        """What the next step waits for: where this is an empty group, what that came after."""
        return self.after.awaited() if self.after and not self.steps else self.steps


class Plan:
    """Steps and batches, in an order in which they can be submitted."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.steps: list[Step] = []
        self._batches: list[Batch] = []

    def add(
        self,
        task: Task[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: CallOptions,
        after: Ends | None,
        *,
        takes_result: bool,
    ) -> Step:
        """One job more. Raises what `service.adapters.calls.call` does, and `TypeError`."""
        ours, awaited = in_our_terms(options), after.awaited() if after else ()
        if awaited:
            _refuse_delay(task, options)
            ours = replace(ours, depends_on=[step.job_id for step in awaited])
        if after and takes_result:
            if after.is_group and not after.steps:
                args = ([], *args)
            elif after.is_group:
                ours = replace(ours, results_as=_first_free(task, kwargs))
            else:
                ours = replace(ours, result_as=_first_free(task, kwargs))
        given = options.get("task_id")
        if given and any(step.job_id == given for step in self.steps):
            raise OptionsInvalid(f"task_id: {given!r} is given to two of these calls.", errors=[])
        step = Step(
            submission=call(self.door, task, args, kwargs, ours),
            options=options,
            after=after,
            job_id=given or new_job_id(),
            rank=1 + max((each.rank for each in awaited), default=-1),
        )
        self.steps.append(step)
        return step

    def batch(self, steps: Sequence[Step]) -> Batch | None:
        """Have these sent as one, where that is the same but for being all or none."""
        if not self._can_be_batch(steps):
            return None
        first, settings = steps[0], self.door.settings
        options = replace(in_our_terms(first.options), idempotency_key=new_job_id())
        task = first.submission.task
        submission = submission_of(task, {}, options, settings, self.door.catalogue)
        self._batches.append(Batch(steps, submission))
        return self._batches[-1]

    def rounds(self) -> Iterator[list[Step | Batch]]:
        """What can be sent at once, round by round: each job after those that it waits for."""
        batched = {step for batch in self._batches for step in batch.steps}
        single = sorted((step for step in self.steps if step not in batched), key=_rank)
        rounds: dict[int, list[Step | Batch]] = {0: list(self._batches)} if batched else {}
        for rank, steps in groupby(single, _rank):
            rounds.setdefault(rank, []).extend(steps)
        return (rounds[rank] for rank in sorted(rounds))

    def results(self, ends: Ends) -> AsyncResult[Any] | GroupResult:
        """Those of these ends, once all is sent, each with what it came after."""
        for step in self.steps:
            parent = self._result(step.after) if step.after else None
            task = step.submission.task
            step.result = AsyncResult(step.job_id, task=task, parent=parent, door=self.door)
            if isinstance(parent, AsyncResult):
                parent.children.append(step.result)
        return self._result(ends)

    def _can_be_batch(self, steps: Sequence[Step]) -> bool:
        if not 2 <= len(steps) <= self.door.settings.max_batch:
            return False
        task, options = steps[0].submission.task, steps[0].options
        return (
            not task.policy.unique
            and not options.keys() & {"task_id", "link"}
            and all(
                (step.submission.task, step.options, step.rank) == (task, options, 0)
                for step in steps
            )
        )

    def _result(self, ends: Ends) -> AsyncResult[Any] | GroupResult:
        if ends.result is None:
            results = [step.result for step in ends.steps if step.result]
            parent = self._result(ends.after) if ends.after else None
            batch_id = ends.batch.id if ends.batch else None
            ends.result = (
                GroupResult(batch_id, results, parent, door=self.door)
                if ends.is_group
                else results[0]
            )
        return ends.result


def _rank(step: Step) -> int:
    return step.rank


def _first_free(task: Task[..., Any], kwargs: Mapping[str, Any]) -> str:
    """The parameter that the result of what comes before becomes."""
    for name in task.parameters.names:
        if name not in kwargs:
            return name
    raise TypeError(
        f"{task.name} has no parameter left for the result of what runs before it; "
        f"{task.name}.si(…) takes none"
    )


def _refuse_delay(task: Task[..., Any], options: CallOptions) -> None:
    if options.get("countdown") or options.get("eta"):
        raise TypeError(
            f"{task.name}: a job that waits for others is queued when those have finished, and "
            "can't be given a countdown or an eta on top. Delay the first one of them"
        )
