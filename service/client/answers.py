"""What came back → what it holds, or the error that it is."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import httpx

from service.client import errors
from service.client.errors import AnswerUnreadable, PaddockHTTPError, ServiceUnreachable
from service.client.retries import retry_after

#: After which the same request may do better: from the service itself, or a proxy before it.
PASSING = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
#: Faults of the request itself, among httpx's errors of the connection.
_NEVER_SENT = (httpx.LocalProtocolError, httpx.UnsupportedProtocol)
TOLD = 200  # characters of an answer that is no problem document

_KINDS: dict[str, type[PaddockHTTPError]] = {
    f"urn:paddock:problem:{kind.slug}": kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, PaddockHTTPError) and kind.slug
}


def json_in(content: bytes) -> Any:
    """What the answer holds. Raises `AnswerUnreadable`."""
    try:
        return json.loads(content)
    except ValueError as error:
        told = content[:TOLD].decode(errors="replace")
        raise AnswerUnreadable(f"This is no JSON: {told!r}. Is base_url right?") from error


def problem_of(response: httpx.Response) -> PaddockHTTPError:
    """The error that this answer, which is no success, tells of."""
    problem = _document(response)
    kind = _KINDS.get(str(problem.get("type")), PaddockHTTPError)
    return kind(
        response.status_code,
        problem,
        is_passing=response.status_code in PASSING,
        retry_after=retry_after(response.headers.get("Retry-After")),
    )


@contextlib.contextmanager
def reaching() -> Iterator[None]:
    """Raise httpx's errors of a request in this block as `ServiceUnreachable`."""
    try:
        yield
    except httpx.RequestError as error:
        request = error.request
        told = f"{request.method} {request.url}: {error or type(error).__name__}"
        passing = isinstance(error, httpx.TransportError) and not isinstance(error, _NEVER_SENT)
        raise ServiceUnreachable(told, is_passing=passing) from error


def _document(response: httpx.Response) -> Mapping[str, Any]:
    try:
        document = response.json()
    except ValueError:
        document = None
    if isinstance(document, dict):
        return document
    detail = response.text[:TOLD]  # a proxy's own page, say
    if response.is_redirect:
        detail = f"Give {response.headers['Location']} as base_url."
    return {"title": response.reason_phrase, "status": response.status_code, "detail": detail}
