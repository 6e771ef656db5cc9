"""A request → its answer, however many tries that takes."""

import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Protocol

import httpx

from service.client.answers import json_in, problem_of, reaching
from service.client.errors import RequestFailed, WaitTimeout
from service.client.requests import KEY, Request
from service.client.retries import Retries, Tries
from service.client.waiting import ENDLESS, Deadline


class Port(Protocol):
    """All that is done to the world outside; the rest of the client only decides what."""

    async def send(self, request: Request) -> httpx.Response:
        """The answer, read to its end. Raises `httpx.RequestError`."""

    def pieces(self, request: Request) -> AsyncGenerator[bytes, None]:
        """The answer, as it comes. Raises `httpx.RequestError` and `PaddockHTTPError`."""

    async def pause(self, seconds: float) -> None:
        """Let time pass."""


class Exchange:
    """Sends one request again until it is answered, or its tries are used up."""

    def __init__(self, port: Port, request: Request, retries: Retries, within: float) -> None:
        self._port, self._request = port, request
        self._tries = Tries(retries, within)

    async def answer(self) -> httpx.Response:
        """The answer, a success. Raises `RequestFailed`."""
        while True:
            try:
                with reaching():
                    response = await self._port.send(self._request)
                if response.is_success:
                    return response
                raise problem_of(response)
            except RequestFailed as failure:
                await self.pause_after(failure)

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """The answer, line by line, tried once. Raises `RequestFailed`, midway perhaps."""
        held = b""
        with reaching():
            async with aclosing(self._port.pieces(self._request)) as pieces:
                async for piece in pieces:
                    # httpx's own lines end at U+2028, too, which may stand within a JSON text.
                    *lines, held = (held + piece).split(b"\n")
                    for line in lines:
                        yield line

    async def pause_after(self, failure: RequestFailed) -> None:
        """Pause before the next try. Raises the failure where there is to be none."""
        pause = self._tries.pause(failure.retry_after)
        failure.tries = self._tries.made
        failure.idempotency_key = self._request.headers.get(KEY)
        if pause is None or not failure.is_passing or not self._request.can_be_sent:
            raise failure
        await self._port.pause(pause)


class Caller:
    """What the calls are made with."""

    def __init__(self, port: Port, retries: Retries) -> None:
        self._port, self._retries = port, retries

    def _exchange(self, request: Request, within: float = math.inf) -> Exchange:
        return Exchange(self._port, request, self._retries, within)

    async def _document(self, request: Request, deadline: Deadline = ENDLESS) -> Any:
        """The JSON that is answered.

        Raises `RequestFailed` and `AnswerUnreadable`, and `WaitTimeout` where it was for the
        deadline that a request was not tried again.
        """
        exchange = self._exchange(request, deadline.left())
        try:
            return json_in((await exchange.answer()).content)
        except RequestFailed as failure:
            if failure.is_passing and (failure.retry_after or 0.0) >= deadline.left():
                raise WaitTimeout(f"no answer within {deadline.seconds} s: {failure}") from failure
            raise
