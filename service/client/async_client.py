"""The client for code that runs in an event loop."""

from types import TracebackType
from typing import Self

import httpx

from service.client.batch_calls import BatchCalls
from service.client.event_calls import EventCalls
from service.client.job_calls import JobCalls
from service.client.overview_calls import OverviewCalls
from service.client.ports import TIMEOUT, AsyncPort, connecting
from service.client.retries import DEFAULT_RETRIES, Retries


class AsyncClient(JobCalls, EventCalls, BatchCalls, OverviewCalls):
    """Paddock's API at `base_url`. Arguments, methods and errors are those of `Client`.

    `async with` it, or `aclose` it at the end.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        timeout: float = TIMEOUT,
        retries: Retries = DEFAULT_RETRIES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        arguments = connecting(base_url, api_key, timeout)
        self._http = httpx.AsyncClient(transport=transport, **arguments)
        super().__init__(AsyncPort(self._http), retries)

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
