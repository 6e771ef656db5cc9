"""A task's parameters, out of the body of the request that submits it."""

from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.requests import ClientDisconnect

from jobs import Task
from service.api.forms import form_to_json
from service.api.problems import failing_fields, in_words
from service.api.visit import address
from service.errors import MalformedBody, MediaTypeUnsupported, ParametersInvalid

JSON, FORM = "application/json", "application/x-www-form-urlencoded"


async def read_parameters(
    request: Request, task: Task[..., Any], given: str | None
) -> dict[str, Any]:
    """The task's parameters but for the one that is `given` later.

    Raises `MalformedBody`, `MediaTypeUnsupported` or `ParametersInvalid`.
    """
    body, kind = await _body(request), _media_type(request)
    if kind == FORM:
        body = form_to_json(body, task.parameters.schema)
    elif kind != JSON and (kind or body):
        raise MediaTypeUnsupported(
            f"{kind or 'A body without a Content-Type'} can't be read. Send {JSON} or {FORM}."
        )
    try:
        return task.parameters.accept(body or b"{}", given)
    except ValidationError as error:
        raise _refusal(error, request, task) from error


def what_it_takes(request: Request, task: Task[..., Any]) -> str:
    """For a caller whose parameters don't fit: where those of the task are described."""
    return f"GET {address(request.scope, f'/tasks/{task.name}')} shows what it takes."


async def _body(request: Request) -> bytes:
    """As `request.body` reads it, which takes long over what mostly comes in one piece."""
    parts = []
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _media_type(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return JSON if kind.endswith("+json") else kind


def _refusal(error: ValidationError, request: Request, task: Task[..., Any]) -> Exception:
    if error.error_count() == 1 and (only := error.errors()[0])["type"] == "json_invalid":
        return MalformedBody(f"The body is not valid JSON: {only['ctx']['error']}.")
    rows = failing_fields(error, "body")
    return ParametersInvalid(
        f"{in_words(rows, error)}. {what_it_takes(request, task)}",
        task=task.name,
        errors=rows,
    )
