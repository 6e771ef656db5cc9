"""What each task takes and returns, as OpenAPI has it."""

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaValue

from jobs.catalogue import Catalogue

Schemas = dict[str, Any]

_JOB: Schemas = {"$ref": "#/components/schemas/JobView"}


def parameter_schemas(catalogue: Catalogue) -> tuple[Schemas, Schemas]:
    """The schema of each task's body, and the component schemas that those refer to."""
    adapters = ((task.name, task.parameters.adapter) for task in catalogue)
    return _schemas("tasks.", "validation", adapters)


def job_schemas(catalogue: Catalogue) -> tuple[Schemas, Schemas]:
    """The schema of each task's jobs, whose result is what it returns, and what those refer to."""
    adapters = ((task.name, task.result.adapter) for task in catalogue)
    results, components = _schemas("results.", "serialization", adapters)
    return {name: _job_with(result) for name, result in results.items()}, components


def _schemas(
    prefix: str,
    mode: Literal["validation", "serialization"],
    adapters: Iterable[tuple[str, TypeAdapter[Any]]],
) -> tuple[Schemas, Schemas]:
    """All at once, since it takes them all to tell models of the same name apart.

    The prefix of the components' names tells them from the service's own.
    """
    by_task: dict[Any, JsonSchemaValue]
    by_task, definitions = TypeAdapter.json_schemas(
        [(name, mode, adapter) for name, adapter in adapters],
        ref_template=f"#/components/schemas/{prefix}{{model}}",
    )
    schemas = {name: schema for (name, _mode), schema in by_task.items()}
    return schemas, {f"{prefix}{name}": it for name, it in definitions.get("$defs", {}).items()}


def _job_with(result: Schemas) -> Schemas:
    if not result:
        return _JOB  # it may be anything
    until_then = {"anyOf": [result, {"type": "null"}]}
    return {"allOf": [_JOB, {"type": "object", "properties": {"result": until_then}}]}
