"""From a function and its arguments to a call of a task."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from jobs import Task
from service.adapters.door import Door
from service.adapters.errors import NotInCatalogue
from service.broker.intake import Options, submission_of
from service.errors import ParametersInvalid
from service.submission import Submission


def call(
    door: Door,
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Options,
) -> Submission:
    """What `function(*args, **kwargs)` is as a submission.

    Raises `NotInCatalogue`; `TypeError` where the arguments don't fit the signature, as calling it
    would; `ParametersInvalid` where their values don't fit its types; and what `submission_of`
    raises.
    """
    task = task_of(function, door)
    try:
        given = options.result_as or options.results_as
        parameters = task.parameters.accept_values(args, kwargs, given)
    except ValidationError as error:
        raise parameters_invalid(task, error) from error
    return submission_of(task, parameters, options, door.settings, door.catalogue)


def task_of(function: Callable[..., Any], door: Door) -> Task[..., Any]:
    """The task that this is, or the plain function of. Raises `NotInCatalogue`."""
    known = door.catalogue.at(_path(function))
    if known is None:
        raise NotInCatalogue(_what_to_do(function, door.settings.tasks))
    if isinstance(getattr(function, "__wrapped__", None), Task):
        raise NotInCatalogue(
            f"{known.source}: a decorator stands above the `@job` of {known.name}, and workers "
            "would leave it out: put `@job` on top."
        )
    return known


def parameters_invalid(task: Task[..., Any], error: ValidationError) -> ParametersInvalid:
    """What the caller of the task is told."""
    rows = [
        {"in": "call", "field": ".".join(map(str, row["loc"])), "message": row["msg"]}
        for row in error.errors(include_url=False, include_input=False)
    ]
    told = "; ".join(f"{row['field']}: {row['message']}" for row in rows)
    return ParametersInvalid(f"{task.name}: {told}", task=task.name, errors=rows)


def _path(function: Any) -> str:
    if isinstance(function, Task):
        return function.path
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', '')}"


def _what_to_do(function: Any, listed: Sequence[str]) -> str:
    """The line to add, and where."""
    if isinstance(function, Task):
        name, module, where, missing = function.name, function.module, function.source, ""
    elif inspect.isfunction(function) and function.__qualname__ == function.__name__ != "<lambda>":
        name, module = function.__name__, function.__module__
        code = function.__code__
        where = f"{code.co_filename}:{code.co_firstlineno}"
        missing = f"put `@job` (from jobs import job) on the line above `def {name}`, and "
    else:
        return (
            f"{function!r} is no task, and can't be one: workers import a task by its name. Make "
            "it a plain function at the top level of a module, with `@job` above it."
        )
    if module == "__main__":
        return (
            f"{where}: {name} is in the program's main module, which workers can't import: move "
            "it to a module of its own, or start the program by that module's name."
        )
    names = ",".join(dict.fromkeys([*listed, module]))
    return (
        f"{where}: {name} is in no catalogue: {missing}have its module among the tasks: "
        f"PADDOCK_TASKS={names} (for this program and the workers)."
    )
