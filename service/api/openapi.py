"""The OpenAPI document: FastAPI's, told of what it can't see."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.api.health import OPEN_PATHS
from service.api.keys import SCHEMES


def openapi(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        app.openapi_schema = _document(app)
    return app.openapi_schema


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    document["components"]["securitySchemes"] = {
        scheme.scheme_name: scheme.described() for scheme in SCHEMES
    }
    needed: list[dict[str, list[str]]] = [{scheme.scheme_name: []} for scheme in SCHEMES]
    document["security"] = needed if app.state.settings.api_keys else [{}, *needed]
    for operation in _operations(document):
        _drop_fastapi_errors(operation)
        _drop_null_from_query(operation)
    for path in OPEN_PATHS:
        document["paths"][path]["get"]["security"] = []
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
    return document


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for operations in document["paths"].values():
        yield from operations.values()


def _drop_fastapi_errors(operation: dict[str, Any]) -> None:
    """FastAPI adds a 422 of its own form wherever there is a parameter; ours say it themselves."""
    if "application/json" in operation["responses"].get("422", {}).get("content", {}):
        del operation["responses"]["422"]


def _drop_null_from_query(operation: dict[str, Any]) -> None:
    """What is None when it is left out can't be given as null: a query has no word for it."""
    for parameter in operation.get("parameters", ()):
        branches = parameter["schema"].pop("anyOf", ())
        for branch in branches:
            if branch != {"type": "null"}:
                parameter["schema"] |= branch
