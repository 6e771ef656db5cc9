"""The schemas that the routes refer to, for whatever OpenAPI document the routes come into."""

import json
import re
from functools import cache
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, RootModel
from starlette.routing import Match
from starlette.types import Scope

from service.api.batch_schemas import BatchRowView
from service.api.schemas import ProblemView
from service.api.task_schemas import Schemas


def operation_id(route: Any) -> str:
    """Of a task's route: its name, after those of what it is included below."""
    before, _, _ = route.path_format.rpartition("/tasks/")
    return "_".join([*re.findall(r"\w+", before), route.name])


class ComponentsRoute(APIRoute):
    """A route that no request comes to. FastAPI collects the schemas of what it would answer.

    It has no other way to be given schemas by a router, and a reference that leads nowhere makes
    the document of the whole application invalid.
    """

    def __init__(self, schemas: Schemas) -> None:
        named = [_component(name, json.dumps(schema)) for name, schema in schemas.items()]
        views = (ProblemView, BatchRowView)  # those that no response_model names
        super().__init__(
            "/",
            _answer_nobody,
            methods=[],
            operation_id="components",
            response_model=tuple.__class_getitem__((*views, *named)),
        )

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return Match.NONE, {}


@cache  # a schema that two routers have in common is one component
def _component(name: str, schema: str) -> type[BaseModel]:
    """A model that has this name and this schema, and no other use."""

    def describe(*_: Any) -> Schemas:
        described: Schemas = json.loads(schema)
        return described

    return type(
        name,
        (RootModel[Any],),
        {"__module__": __name__, "__get_pydantic_json_schema__": classmethod(describe)},
    )


def _answer_nobody() -> None:
    raise AssertionError("unreachable: this route matches nothing")
