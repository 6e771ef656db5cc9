"""The page of the HTTP API, from the OpenAPI document that the service itself hands out."""

import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

from jobs.catalogue import Catalogue
from reference.markdown import code, sentence, table
from reference.schemas import details, kind, section
from service.api.app import create_app
from service.errors import Problem
from service.settings import Settings

TASKS = ("jobs",)  # whose routes stand for those of any task
PROBLEM = "application/problem+json"
UNSAID = "Successful Response"  # what FastAPI writes where nobody has described an answer

_OF_A_TASK = re.compile(r"/tasks/(?P<task>\w+)(?P<rest>/batch)?")

Operation = dict[str, Any]
Document = dict[str, Any]

INTRODUCTION = """\
# HTTP API

This page is made from the OpenAPI document of a service with the tasks that come along. Your own
service shows the same at `/docs`, with a route for each of your tasks, and hands the document out
at `/openapi.json`.
"""

OF_EACH_TASK = """\
There is one such route for each task, which takes that task's parameters; in the OpenAPI document
each has its own schema and example.
"""


def document() -> Document:
    """The OpenAPI document. Nothing is connected to."""
    settings = Settings(data_dir=Path("data"), api_keys=(), host="127.0.0.1")
    return create_app(settings, Catalogue.load(TASKS)).openapi()


def api_page() -> str:
    """The page, as Markdown."""
    return "\n".join(_page(document()))


def operations(found: Document) -> Iterator[tuple[str, str, Operation]]:
    """Method, path and description of each route; of those of the tasks, one for all."""
    seen = set[tuple[str, str]]()
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            route = method.upper(), general(path)
            if route not in seen:
                seen.add(route)
                yield *route, operation


def general(path: str) -> str:
    """The path, with `{task}` for the name of a task."""
    own = _OF_A_TASK.fullmatch(path)
    return f"/tasks/{{task}}{own['rest'] or ''}" if own else path


def _page(found: Document) -> Iterator[str]:
    yield INTRODUCTION
    yield found["info"]["description"]
    yield from _keys(found)
    tags: dict[str, list[tuple[str, str, Operation]]] = {}
    for method, path, operation in operations(found):
        tags.setdefault(operation["tags"][0], []).append((method, path, operation))
    for tag, listed in tags.items():
        yield f"## {tag.title()}"
        yield ""
        for method, path, operation in listed:
            yield from _route(method, path, operation)
    yield from _problems()
    yield "## Schemas"
    yield ""
    for name, schema in sorted(found["components"]["schemas"].items()):
        yield from section(name, schema)


def _keys(found: Document) -> Iterator[str]:
    yield "Where the service has API keys, one is sent in any of these ways:"
    yield ""
    for scheme in found["components"]["securitySchemes"].values():
        header = scheme.get("name") or f"Authorization: {scheme['scheme'].title()}"
        yield f"- `{header}`{': ' + scheme['description'] if 'description' in scheme else ''}"
    yield ""


def _route(method: str, path: str, operation: Operation) -> Iterator[str]:
    yield f"### `{method} {path}`"
    yield ""
    if path.startswith("/tasks/{task}") and method == "POST":
        yield OF_EACH_TASK
    else:
        told = (operation["summary"], operation.get("description", ""))
        yield " ".join(sentence(part) for part in dict.fromkeys(told) if part)
        yield ""
    yield from _parameters(operation)
    yield from _body(path, operation)
    yield from _answers(operation)


def _parameters(operation: Operation) -> Iterator[str]:
    yield from table(
        ("parameter", "in", "type", "meaning"),
        (
            (
                code(each["name"]),
                each["in"],
                kind(each["schema"]),
                details({**each["schema"], "description": each.get("description", "")}),
            )
            for each in operation.get("parameters", ())
        ),
    )


def _body(path: str, operation: Operation) -> Iterator[str]:
    body = operation.get("requestBody")
    if body is None:
        return
    types = " or ".join(code(media_type) for media_type in body["content"])
    if "{task}" in path:
        many = "a list of sets of " if path.endswith("/batch") else ""
        yield f"Body: {types}, with {many}the task's parameters."
    else:
        (schema, *_) = (content["schema"] for content in body["content"].values())
        yield f"Body: {types}, {kind(schema)}."
    yield ""


def _answers(operation: Operation) -> Iterator[str]:
    yield from table(
        ("answer", "body", "when"),
        (
            (code(status), _content(answer), _when(status, answer))
            for status, answer in sorted(operation["responses"].items())
        ),
    )


def _content(answer: dict[str, Any]) -> str:
    told = []
    for media_type, content in answer.get("content", {}).items():
        if media_type == PROBLEM:
            told.append("[problem](#problems)")
        elif media_type == "application/json":
            told.append(kind(content.get("schema", {})))
        else:
            told.append(f"{code(media_type)}: {kind(content.get('schema', {}))}")
    return "; ".join(told)


def _when(status: str, answer: dict[str, Any]) -> str:
    said = answer["description"]
    if said == UNSAID:
        said = HTTPStatus(int(status)).phrase
    headers = ", ".join(code(name) for name in answer.get("headers", {}))
    return f"{sentence(said)}{f' With {headers}.' if headers else ''}"


def _problems() -> Iterator[str]:
    yield "## Problems"
    yield ""
    yield f"Every error is an `{PROBLEM}` document (RFC 9457) with one of these types."
    yield ""
    yield from table(
        ("type", "status", "title"),
        (
            (code(f"urn:paddock:problem:{each.slug}"), code(int(each.status)), each.title)
            for each in sorted(_kinds(Problem), key=lambda each: (each.status, each.slug))
        ),
    )


def _kinds(root: type[Problem]) -> Iterator[type[Problem]]:
    for each in root.__subclasses__():
        if "slug" in vars(each):
            yield each
        yield from _kinds(each)
