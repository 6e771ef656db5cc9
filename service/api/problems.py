"""Errors → RFC 9457 problem documents, in one place."""

import json
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPMethod, HTTPStatus
from itertools import islice
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from jobs.errors import UnknownTask
from service.errors import MalformedBody, OptionsInvalid, Problem, RedisAway, TaskNotFound

MEDIA_TYPE = "application/problem+json"
MOST_FIELDS_TOLD = 20  # of those that fail; a long list of wrong items would fill megabytes


def problem_response(problem: Problem) -> Response:
    """The answer that tells a caller of this problem."""
    return _response(problem.document(), problem.headers)


def failing_fields(
    errors: ValidationError | RequestValidationError, where: str
) -> list[dict[str, str]]:
    """What failed validation, a row each: where, which field, and why."""
    return [
        {"in": where, "field": _dotted(error["loc"], where), "message": _message(error)}
        for error in islice(_each(errors), MOST_FIELDS_TOLD)
    ]


def in_words(rows: list[dict[str, str]], errors: ValidationError) -> str:
    """These rows of the errors, and how many more there are."""
    told = "; ".join(f"{row['field'] or 'body'}: {row['message']}" for row in rows)
    more = errors.error_count() - len(rows)
    return f"{told}; and {more} more" if more > 0 else told


def options_refusal(error: ValidationError | RequestValidationError) -> OptionsInvalid:
    """What is wrong with the query."""
    rows = failing_fields(error, "query")
    detail = "; ".join(f"{row['field']}: {row['message']}" for row in rows)
    return OptionsInvalid(f"{detail}.", errors=rows)


def install(app: FastAPI) -> None:
    """Have every error answered as a problem."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(UnknownTask, _on_unknown_task)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RedisError, _on_redis_error)
    app.add_exception_handler(ClientDisconnect, _on_lost_caller)
    app.add_exception_handler(Exception, _on_defect)


def _response(document: dict[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    # ASCII only, so that whatever text a caller sent can be quoted back.
    body = json.dumps(document)
    return Response(body, document["status"], headers, media_type=MEDIA_TYPE)


async def _on_problem(_: Request, error: Any) -> Response:
    return problem_response(error)


async def _on_unknown_task(_: Request, error: Any) -> Response:
    return problem_response(TaskNotFound(str(error), task=error.name))


async def _on_invalid_request(_: Request, error: Any) -> Response:
    return problem_response(options_refusal(error))


async def _on_http_exception(request: Request, error: Any) -> Response:
    """Starlette's own: no such route, method not allowed."""
    status = HTTPStatus(error.status_code)
    detail, headers = error.detail, error.headers
    if status is HTTPStatus.NOT_FOUND:
        detail = "There is no such route; /docs lists those there are."
    elif status is HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = ", ".join(_methods(request))
        detail, headers = f"This route takes {allowed} only.", {"Allow": allowed}
    slug = status.phrase.lower().replace(" ", "-")
    document = {
        "type": f"urn:paddock:problem:{slug}",
        "title": status.phrase,
        "status": int(status),
        "detail": detail,
    }
    return _response(document, headers)


def _methods(request: Request) -> list[str]:
    """What the path takes. Starlette names the methods of its first route only."""
    return [
        method
        for method in HTTPMethod
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]


async def _on_redis_error(_: Request, error: Any) -> Response:
    return problem_response(RedisAway(f"Redis does not answer as it should: {error}."))


async def _on_lost_caller(_: Request, error: Any) -> Response:
    # Nobody reads this; but it is no defect, and need not fill the log with tracebacks.
    return problem_response(MalformedBody("The connection was closed before the body's end."))


async def _on_defect(request: Request, error: Any) -> Response:
    # The server logs the traceback; nothing of it is told to the caller.
    headers = getattr(request.state, "answer_headers", None)
    return problem_response(
        Problem("This is a defect. The service's log holds the details.", headers=headers)
    )


def _each(errors: ValidationError | RequestValidationError) -> Iterator[Any]:
    """One error after the other. As Python objects all of them, half a million say, would keep the
    event loop busy for a second; as text they are there at once.
    """
    if isinstance(errors, RequestValidationError):
        yield from errors.errors()
        return
    text = errors.json(include_url=False, include_context=False, include_input=False)
    decoder, at = json.JSONDecoder(), text.find("{")
    while at != -1:
        error, end = decoder.raw_decode(text, at)
        yield error
        at = text.find("{", end)


def _message(error: Any) -> str:
    message: str = error["msg"]
    return message.removeprefix("Value error, ")  # before what a validator of the user's own says


def _dotted(location: Iterable[Any], where: str) -> str:
    parts = [str(part) for part in location]
    return ".".join(parts[1:] if parts[:1] == [where] else parts)
