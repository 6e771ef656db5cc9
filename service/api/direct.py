"""A way round what FastAPI does for each request, where that takes longer than the work itself."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import Match
from starlette.types import Scope

from service.api.keys import KeyScheme

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class DirectRoute(APIRoute):
    """A route whose handler reads the request and makes the answer by itself.

    FastAPI documents it like any other; what it would resolve and check for each request is nothing
    here, and takes a fifth as long as all else that is done for a submission. Dependencies that the
    route is given where it is included, such as a login, are resolved all the same.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        # There are as many of them as tasks, and most can be told not to be meant without more ado.
        if not scope["path"].endswith(self.path):
            return Match.NONE, {}
        return super().matches(scope)

    def get_route_handler(self) -> Handler:
        resolving, direct = super().get_route_handler(), self.endpoint
        chosen: Callable[[Request], Awaitable[Response]] | None = None

        async def handle(request: Request) -> Response:
            nonlocal chosen
            if chosen is None:
                chosen = direct if self._stands_alone_in(request.app.routes) else resolving
            return await chosen(request)

        return handle

    def _stands_alone_in(self, routes: Any) -> bool:
        """Whether it is among these, and nothing is to be resolved for it wherever it is."""
        found = [each for each in iter_route_contexts(routes) if each.original_route is self]
        asked = [dependency.dependency for each in found for dependency in each.dependencies]
        return bool(found) and all(isinstance(each, KeyScheme) for each in asked)
