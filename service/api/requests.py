"""What is done to every request: an id and safe headers, and limits to its body's size and time."""

import asyncio
import os
import re
from time import perf_counter

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.metrics.http import answered
from service.api.problems import problem_response
from service.api.visit import visit_of
from service.errors import BodyTooLarge, RequestTooSlow
from service.logs import ABOUT

# No page of ours is shown in another site's frame (clickjacking), nor any answer taken for a type
# that it does not claim. A page that has a stricter policy of its own keeps it: browsers
# heed both.
_SAFE = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"referrer-policy", b"same-origin"),
]
_REPLACED = {b"x-content-type-options", b"referrer-policy", b"x-request-id"}
_USABLE_ID = re.compile(r"[\w.:=+/-]{1,128}", re.ASCII)
# These read their bodies as streams, and bound them by other settings.
_STREAMED = re.compile(r"/tasks/[^/]+/batch")
SLOWEST = 16 * 1024  # bytes a second, at which a large body may come


class RequestId:
    """ASGI middleware: every answer bears X-Request-ID, the caller's own where it sent one.

    It is logged with all that is done for the request. Every answer is counted.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _USABLE_ID.fullmatch(given) else os.urandom(16).hex()
        visit_of(scope).request_id = request_id
        ABOUT.set({"request_id": request_id})  # the server has each request in a context of its own
        ours = [*_SAFE, (b"x-request-id", request_id.encode())]

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                theirs = [each for each in message.get("headers", ()) if each[0] not in _REPLACED]
                message["headers"] = [*theirs, *ours]
                answered(scope, message["status"], perf_counter() - began)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class BodyLimit:
    """ASGI middleware: 413 for a body over the limit, whether or not its length was announced."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _STREAMED.fullmatch(visit_of(scope).path):
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self._limit:
            await problem_response(self._problem())(scope, receive, send)
            return
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise self._problem()
            return message

        await self._app(scope, receive_within_limit, send)

    def _problem(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"The body may have {self._limit} bytes at most (PADDOCK_MAX_BODY). "
            "Pass large data by reference: a file's path, or a URL."
        )


class BodyTimeLimit:
    """ASGI middleware: 408 for a body that trickles in, whose caller would hold a place for ever.

    What counts is the time that is spent waiting for the caller, not what the service does between.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app, self._seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left, is_whole = self._seconds, False

        async def receive_in_time() -> Message:
            nonlocal left, is_whole
            if is_whole:
                return await receive()  # which tells whether the caller is still there
            clock = asyncio.get_running_loop().time
            began = clock()
            try:
                async with asyncio.timeout(max(left, 0)):
                    message = await receive()
            except TimeoutError as error:
                raise self._problem() from error
            left += len(message.get("body", b"")) / SLOWEST - (clock() - began)
            is_whole = not message.get("more_body", False)
            return message

        await self._app(scope, receive_in_time, send)

    def _problem(self) -> RequestTooSlow:
        return RequestTooSlow(
            f"The body did not arrive within {self._seconds:g} seconds (PADDOCK_REQUEST_TIMEOUT) "
            f"and one more for each {SLOWEST // 1024} KiB of it; nothing was accepted."
        )
