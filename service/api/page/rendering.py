"""Templates → what a browser shows. All text in them is escaped, whoever wrote it."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import RedirectResponse

from service.api.page.assets import assets_version
from service.api.page.words import FILTERS
from service.api.problems import TOLD, problem_of
from service.api.visit import address, visit_of
from service.errors import Problem

#: Nothing from elsewhere, nothing inline: a script that a job's output smuggled in would not run.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_VERSION = version("paddock")
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",  # it shows what jobs were given and what they returned
    "Vary": "HX-Target",
}

_templates = Environment(
    loader=PackageLoader(__package__),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(FILTERS)

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """A route of the page: its problems are told in a page as well."""

    def get_route_handler(self) -> Handler:
        answering = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await answering(request)
            except TOLD as error:
                return _problem_page(request, problem_of(error))

        return handle


def page(
    request: Request,
    template: str,
    status: HTTPStatus = HTTPStatus.OK,
    *,
    headers: dict[str, str] | None = None,
    path: str | None = None,
    **content: Any,
) -> Response:
    """This template as an answer: a whole page, or its changing part alone where scripts ask.

    `path` is where the same is found by GET, where the request was none.
    """
    base, query = address(request.scope, ""), request.url.query
    text = _templates.get_template(template).render(
        base=base,
        assets=f"{base}/assets/{assets_version()}",
        address=f"{base}{path}" if path else request.url.path + (f"?{query}" if query else ""),
        docs=_docs(request),
        dashboard=visit_of(request.scope).has_dashboard,
        version=_VERSION,
        layout="part.html" if is_part(request) else "whole.html",
        **content,
    )
    # Another program's job may have text that UTF-8 can't hold.
    body = text.encode(errors="backslashreplace")
    return Response(body, status, _HEADERS | (headers or {}), media_type="text/html; charset=utf-8")


def is_part(request: Request) -> bool:
    """Whether scripts ask for what has changed on a page that is there."""
    return "#main" in request.headers.get("hx-target", "")


def see(request: Request, path: str) -> Response:
    """Where the browser goes after a form was sent: a reload then sends nothing again."""
    return RedirectResponse(address(request.scope, path), HTTPStatus.SEE_OTHER)


def _docs(request: Request) -> str | None:
    docs: str | None = request.app.docs_url
    return docs and request.scope.get("root_path", "") + docs


def _problem_page(request: Request, problem: Problem) -> Response:
    return page(
        request,
        "problem.html",
        HTTPStatus(problem.status),
        headers=problem.headers,
        path=None if request.method == "GET" else "/",
        active="",
        problem=problem,
    )
