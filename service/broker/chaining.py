"""The options that have a job wait for others, and take the result of one."""

from collections.abc import Sequence

from jobs import Task
from service.errors import OptionsInvalid

MOST_DEPENDENCIES = 100  # of one job


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
    if result_as is None:
        return
    if len(depends_on) != 1:
        raise _refusal("result_as", "needs exactly one job in depends_on")
    if on_dependency_failure == "run":
        raise _refusal("result_as", "a job that did not finish has no result to run with")
    if result_as not in task.parameters.schema["properties"]:
        there = ", ".join(task.parameters.schema["properties"]) or "none"
        raise _refusal("result_as", f"no parameter of {task.name}. It has: {there}")
    key = task.policy.concurrency_key
    if callable(key) or key == result_as:
        raise _refusal("result_as", "the task's concurrency_key has to be known at once")


def _refusal(field: str, message: str) -> OptionsInvalid:
    fault = {"in": "query", "field": field, "message": message}
    return OptionsInvalid(f"{field}: {message}.", errors=[fault])
