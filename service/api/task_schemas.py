"""What each task takes and returns, as OpenAPI has it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaValue

from jobs.catalogue import Catalogue

Schemas = dict[str, Any]

_JOB: Schemas = {"$ref": "#/components/schemas/JobView"}

_catalogues: dict[str, int] = {}  # what the tasks of each take and return → its number


@dataclass(frozen=True)
class TaskSchemas:
    parameters: Schemas  #: each task's body, by the task's name
    jobs: Schemas  #: each task's jobs, whose result is what it returns
    components: Schemas  #: what those refer to

    @classmethod
    def of(cls, catalogue: Catalogue, number: str = "") -> Self:
        """The number is in the components' names, to tell catalogues in one document apart."""
        takes = ((task.name, task.parameters.adapter) for task in catalogue)
        returns = ((task.name, task.result.adapter) for task in catalogue)
        parameters, models = _schemas(f"tasks{number}_", "validation", takes)
        results, more = _schemas(f"results{number}_", "serialization", returns)
        jobs = {name: _job_with(result) for name, result in results.items()}
        return cls(parameters, jobs, models | more)

    @classmethod
    def numbered(cls, catalogue: Catalogue) -> Self:
        """With a number that no other catalogue of this process has; the first has none."""
        schemas = cls.of(catalogue)
        text = json.dumps([schemas.parameters, schemas.jobs, schemas.components])
        number = _catalogues.setdefault(text, len(_catalogues) + 1)
        return schemas if number == 1 else cls.of(catalogue, str(number))


def _schemas(
    prefix: str,
    mode: Literal["validation", "serialization"],
    adapters: Iterable[tuple[str, TypeAdapter[Any]]],
) -> tuple[Schemas, Schemas]:
    """All at once, since it takes them all to tell models of the same name apart.

    The prefix of the components' names tells them from all others.
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
