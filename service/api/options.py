"""Options in the query, read by the handler itself.

FastAPI's own reading of a query model looks at every field of it in each request, which takes
longer than all else that is done to a submission; and most submissions have no query at all.
"""

from functools import cache
from typing import Any, TypeVar, cast

from fastapi import Request
from pydantic import BaseModel, ValidationError

from service.api.problems import options_refusal

Options = TypeVar("Options", bound=BaseModel)


def read_options(request: Request, model: type[Options]) -> Options:
    """The query as this model. Raises `OptionsInvalid`."""
    if not request.scope["query_string"]:
        return cast(Options, _without_query(model))
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise options_refusal(error) from error


def described_options(model: type[BaseModel]) -> list[dict[str, Any]]:
    """The fields of this model as OpenAPI's `parameters`."""
    schema = model.model_json_schema()
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "description": field.get("description", ""),
            "schema": field,
        }
        for name, field in schema["properties"].items()
    ]


@cache
def _without_query(model: type[BaseModel]) -> BaseModel:
    return model()
