"""The options that have a job wait for others, and take the result of one."""

from typing import Any

from jobs import Task
from service.api.schemas import SubmitOptions
from service.errors import OptionsInvalid

MOST_DEPENDENCIES = 100  # of one job


def dependencies(options: SubmitOptions) -> tuple[str, ...]:
    """The ids in `depends_on`, each once. Raises `OptionsInvalid`."""
    if options.depends_on is None:
        if "on_dependency_failure" in options.model_fields_set or options.result_as is not None:
            raise _refusal("depends_on", "on_dependency_failure and result_as go with depends_on")
        return ()
    ids = tuple(dict.fromkeys(part.strip() for part in options.depends_on.split(",")))
    if not all(ids):
        raise _refusal("depends_on", "expects the ids of jobs, separated by commas")
    if len(ids) > MOST_DEPENDENCIES:
        raise _refusal("depends_on", f"{MOST_DEPENDENCIES} jobs at most, these are {len(ids)}")
    if options.at is not None or options.delay is not None:
        raise _refusal("depends_on", "goes with neither `delay` nor `at`")
    return ids


def result_parameter(
    task: Task[..., Any], options: SubmitOptions, ids: tuple[str, ...]
) -> str | None:
    """The parameter that gets the dependency's result. Raises `OptionsInvalid`."""
    name, key = options.result_as, task.policy.concurrency_key
    if name is None:
        return None
    if name not in task.parameters.schema["properties"]:
        there = ", ".join(task.parameters.schema["properties"])
        raise _refusal("result_as", f"{task.name} has no parameter {name!r}. It has: {there}")
    if len(ids) != 1:
        raise _refusal("result_as", "needs exactly one job in depends_on")
    if options.on_dependency_failure == "run":
        raise _refusal("result_as", "a job that did not finish has no result to run with")
    if callable(key) or key == name:
        raise _refusal("result_as", "the task's concurrency_key has to be known at once")
    return name


def _refusal(field: str, message: str) -> OptionsInvalid:
    fault = {"in": "query", "field": field, "message": message}
    return OptionsInvalid(f"{field}: {message}.", errors=[fault])
