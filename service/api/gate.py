"""What every request to Paddock passes before its route, and every answer on its way back."""

from collections.abc import Callable, Container

from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.auth import Guard
from service.api.problems import DefectAnswers
from service.api.requests import BodyLimit, BodyTimeLimit, RequestId
from service.api.visit import KEY, Visit, path_below_root
from service.broker.brokers import Brokers
from service.settings import Settings


class Gate:
    """ASGI middleware: the guard, limits to the body, an answer also to a defect, and for each
    answer an id and safe headers.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        settings: Settings,
        brokers: Brokers,
        has_dashboard: bool = True,
        path_of: Callable[[Scope], str] = path_below_root,
        spares: Callable[[Scope], Container[type]] = lambda _: (),
    ) -> None:
        """`path_of` tells the path of the route that a request will come to, as Paddock has it;
        `spares` are errors that an application around this one answers.
        """
        self._app, self._settings, self._brokers, self._path_of = app, settings, brokers, path_of
        self._has_dashboard = has_dashboard
        in_time = BodyTimeLimit(DefectAnswers(app, spares), seconds=settings.request_timeout)
        limited = BodyLimit(in_time, limit=settings.max_body)
        self._enter = RequestId(Guard(limited, settings))  # refusals bear an id as well

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        broker, path = await self._brokers.here(), self._path_of(scope)
        scope[KEY] = Visit(self._settings, broker, self._has_dashboard, path)
        await self._enter(scope, receive, send)
