"""The options that have a job wait for others, and take the result of one, or of all."""

from collections.abc import Sequence

from jobs import Task
from service.errors import OptionsInvalid

MOST_DEPENDENCIES = 1_000  # of one job; Redis serves nobody else while it looks at them


def listed_ids(text: str) -> tuple[str, ...]:
    """The ids in a comma-separated list, each once. Raises `OptionsInvalid`."""
    ids = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not all(ids):
        raise _refusal("depends_on", "expects the ids of jobs, separated by commas")
    return ids


def check_chaining(
    task: Task[..., object],
    depends_on: Sequence[str],
    on_dependency_failure: str,
    result_as: str | None,
    results_as: str | None,
    *,
    delayed: bool,
) -> None:
    """Whether these options go together, and with the task. Raises `OptionsInvalid`."""
    if len(depends_on) > MOST_DEPENDENCIES:
        count = len(depends_on)
        raise _refusal("depends_on", f"{MOST_DEPENDENCIES} jobs at most, these are {count}")
    if depends_on and delayed:
        raise _refusal("depends_on", "goes with neither `delay` nor `at`")
    if not depends_on and on_dependency_failure != "fail":
        raise _refusal("on_dependency_failure", "needs depends_on")
    if result_as is not None and results_as is not None:
        raise _refusal("results_as", "give either this or result_as, not both")
    if result_as is not None and len(depends_on) != 1:
        raise _refusal(
            "result_as", "needs exactly one job in depends_on; results_as takes the results of many"
        )
    if results_as is not None and not depends_on:
        raise _refusal("results_as", "needs depends_on")
    for option, parameter in (("result_as", result_as), ("results_as", results_as)):
        if parameter is not None:
            _check_given(option, parameter, task, on_dependency_failure)


def _check_given(
    option: str, parameter: str, task: Task[..., object], on_dependency_failure: str
) -> None:
    if on_dependency_failure == "run":
        raise _refusal(option, "a job that did not finish has no result to run with")
    if parameter not in task.parameters.schema["properties"]:
        there = ", ".join(task.parameters.schema["properties"]) or "none"
        raise _refusal(option, f"no parameter of {task.name}. It has: {there}")
    key = task.policy.concurrency_key
    if callable(key) or key == parameter:
        raise _refusal(option, "the task's concurrency_key has to be known at once")


def _refusal(field: str, message: str) -> OptionsInvalid:
    fault = {"in": "query", "field": field, "message": message}
    return OptionsInvalid(f"{field}: {message}.", errors=[fault])
