"""The two ways to send: httpx's, with and without an event loop."""

import time
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar

import anyio
import httpx

from service.client.answers import problem_of
from service.client.lines import Lines
from service.client.requests import Request

MAX_CONNECTIONS = 500  # of one client; each long poll holds one
TIMEOUT = 10.0  # seconds for a connection, and for each sign of life on it

T = TypeVar("T")


def connecting(base_url: str, api_key: str | None, timeout: float) -> dict[str, Any]:
    """What httpx's clients are made with. Raises `ValueError`."""
    if not base_url.startswith(("http://", "https://")):
        raise ValueError(f"base_url begins with http:// or https://, not as {base_url!r} does")
    headers = {"User-Agent": b"paddock-client"}
    if api_key is not None:
        headers["Authorization"] = f"Bearer {api_key.strip()}".encode()
    return {
        "base_url": base_url,
        "headers": headers,
        # A call waits for one of its connections as long as it takes: that is no failure.
        "timeout": httpx.Timeout(timeout, pool=None),
        "limits": httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=20),
    }


class AsyncPort:
    """Sends in an event loop."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def send(self, request: Request) -> httpx.Response:
        return await self._http.send(self._built(request))

    async def pieces(self, request: Request) -> AsyncGenerator[bytes, None]:
        response = await self._http.send(self._built(request), stream=True)
        try:
            if not response.is_success:
                await response.aread()
                raise problem_of(response)
            async for piece in response.aiter_bytes():
                yield piece
        finally:
            await response.aclose()

    async def pause(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def _built(self, request: Request) -> httpx.Request:
        given = request.content
        content = given.async_pieces() if isinstance(given, Lines) else given
        return self._http.build_request(content=content, **_arguments(request, self._http.timeout))


class SyncPort:
    """Sends at once. Its methods are coroutines that never suspend: `run` runs them."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    async def send(self, request: Request) -> httpx.Response:
        return self._http.send(self._built(request))

    async def pieces(self, request: Request) -> AsyncGenerator[bytes, None]:
        response = self._http.send(self._built(request), stream=True)
        try:
            if not response.is_success:
                response.read()
                raise problem_of(response)
            for piece in response.iter_bytes():
                yield piece
        finally:
            response.close()

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def _built(self, request: Request) -> httpx.Request:
        given = request.content
        content = given.pieces() if isinstance(given, Lines) else given
        return self._http.build_request(content=content, **_arguments(request, self._http.timeout))


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """What this coroutine returns, which waits for nothing but a `SyncPort`."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    raise AssertionError("a coroutine on a SyncPort suspended")


def iterate(items: AsyncGenerator[T, None]) -> Iterator[T]:
    """The items of a generator that waits for nothing but a `SyncPort`."""
    try:
        while True:
            try:
                item = run(anext(items))
            except StopAsyncIteration:
                return
            yield item
    finally:
        run(items.aclose())


def _arguments(request: Request, limits: httpx.Timeout) -> dict[str, Any]:
    """What httpx makes this request of, but for its content."""
    read = None if limits.read is None else limits.read + request.wait
    return {
        "method": request.method,
        "url": request.path,
        "params": request.query or None,
        "headers": {name: value.encode() for name, value in request.headers.items()},
        "timeout": httpx.Timeout(
            connect=limits.connect, read=read, write=limits.write, pool=limits.pool
        ),
    }
