"""Errors → RFC 9457 problem documents, in one place."""

import json
from collections.abc import Callable, Container, Coroutine, Iterable, Iterator, Mapping
from http import HTTPMethod, HTTPStatus
from itertools import islice
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobs.errors import UnknownTask
from service.errors import MalformedBody, OptionsInvalid, Problem, RedisAway, TaskNotFound

MEDIA_TYPE = "application/problem+json"
DEFECT = "This is a defect. The service's log holds the details."
MOST_FIELDS_TOLD = 20  # of those that fail; a long list of wrong items would fill megabytes


#: Errors that are no defects: callers are told of them.
TOLD = (Problem, UnknownTask, RedisError)


def problem_of(error: Problem | UnknownTask | RedisError) -> Problem:
    """What callers are told for it."""
    match error:
        case UnknownTask():
            return TaskNotFound(str(error), task=error.name)
        case RedisError():
            return RedisAway(f"Redis does not answer as it should: {error}.")
    return error


def problem_response(problem: Problem) -> Response:
    """The answer that tells a caller of this problem."""
    return _response(problem.document(), problem.headers)


def failing_fields(
    errors: ValidationError | RequestValidationError, where: str
) -> list[dict[str, str]]:
    """What failed validation, a row each: where, which field, and why.

    FastAPI tells where by itself: it may have been in what a dependency of the user's takes.
    """
    return [
        _row(error, str(error["loc"][0]) if isinstance(errors, RequestValidationError) else where)
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


class DefectAnswers:
    """ASGI middleware: a problem for what nothing else answers, which is raised on, to be logged.

    Those of `spares` are only raised on.
    """

    def __init__(self, app: ASGIApp, spares: Callable[[Scope], Container[type]]) -> None:
        self._app, self._spares = app, spares

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        spared, has_begun = self._spares(scope), False

        async def send_noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except Exception as error:
            if not has_begun and not any(kind in spared for kind in type(error).__mro__):
                await problem_response(Problem(DEFECT))(scope, receive, send)
            raise


def _response(document: dict[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    # ASCII only, so that whatever text a caller sent can be quoted back.
    body = json.dumps(document)
    return Response(body, document["status"], headers, media_type=MEDIA_TYPE)


async def _on_told(_: Request, error: Any) -> Response:
    return problem_response(problem_of(error))


async def _on_invalid_request(_: Request, error: Any) -> Response:
    return problem_response(options_refusal(error))


async def _on_http_exception(request: Request, error: Any) -> Response:
    """Starlette's own: no such route, method not allowed. Or a dependency's of the user's."""
    status = HTTPStatus(error.status_code)
    detail, headers = error.detail, error.headers
    if not isinstance(detail, str):
        detail = json.dumps(detail, default=str)
    elif status is HTTPStatus.NOT_FOUND and detail == status.phrase:
        docs = f"{request.scope.get('root_path', '')}/docs"
        detail = f"There is no such route; {docs} lists those there are."
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


async def _on_lost_caller(_: Request, error: Any) -> Response:
    # Nobody reads this; but it is no defect, and need not fill the log with tracebacks.
    return problem_response(MalformedBody("The connection was closed before the body's end."))


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


def _row(error: Any, where: str) -> dict[str, str]:
    return {"in": where, "field": _dotted(error["loc"], where), "message": _message(error)}


def _message(error: Any) -> str:
    message: str = error["msg"]
    return message.removeprefix("Value error, ")  # before what a validator of the user's own says


def _dotted(location: Iterable[Any], where: str) -> str:
    parts = [str(part) for part in location]
    return ".".join(parts[1:] if parts[:1] == [where] else parts)


#: What Starlette and FastAPI are to answer errors with; a defect is not among them.
HANDLERS: dict[Any, Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    Problem: _on_told,
    UnknownTask: _on_told,
    RedisError: _on_told,
    RequestValidationError: _on_invalid_request,
    HTTPException: _on_http_exception,
    ClientDisconnect: _on_lost_caller,
}
