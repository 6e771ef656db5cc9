"""Errors → RFC 9457 problem documents, in one place."""

import json
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from jobs.errors import UnknownTask
from service.errors import OptionsInvalid, Problem, RedisAway, TaskNotFound

MEDIA_TYPE = "application/problem+json"


def problem_response(problem: Problem) -> Response:
    """The answer that tells a caller of this problem."""
    return _response(problem.document(), problem.headers)


def failing_fields(
    errors: ValidationError | RequestValidationError, where: str
) -> list[dict[str, str]]:
    """What failed validation, a row each: where, which field, and why."""
    listed: Iterable[Any] = errors.errors()
    return [
        {"in": where, "field": _dotted(error["loc"], where), "message": error["msg"]}
        for error in listed
    ]


def install(app: FastAPI) -> None:
    """Have every error answered as a problem."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(UnknownTask, _on_unknown_task)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RedisError, _on_redis_error)
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
    rows = failing_fields(error, "query")
    detail = "; ".join(f"{row['field']}: {row['message']}" for row in rows)
    return problem_response(OptionsInvalid(f"{detail}.", errors=rows))


async def _on_http_exception(_: Request, error: Any) -> Response:
    """Starlette's own: no such route, method not allowed."""
    status = HTTPStatus(error.status_code)
    detail = error.detail
    if status is HTTPStatus.NOT_FOUND:
        detail = "There is no such route; /docs lists those there are."
    elif status is HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"This route takes {error.headers['Allow']} only."
    slug = status.phrase.lower().replace(" ", "-")
    document = {
        "type": f"urn:paddock:problem:{slug}",
        "title": status.phrase,
        "status": int(status),
        "detail": detail,
    }
    return _response(document, error.headers)


async def _on_redis_error(_: Request, error: Any) -> Response:
    return problem_response(RedisAway(f"Redis does not answer as it should: {error}."))


async def _on_defect(_: Request, error: Any) -> Response:
    # The server logs the traceback; nothing of it is told to the caller.
    return problem_response(Problem("This is a defect. The service's log holds the details."))


def _dotted(location: Iterable[Any], where: str) -> str:
    parts = [str(part) for part in location]
    return ".".join(parts[1:] if parts[:1] == [where] else parts)
