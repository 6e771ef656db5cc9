"""A broker for each event loop: a connection that was made in one is of no use in another.

A server has one loop. Tests have many: Starlette's `TestClient` makes one for each request, unless
it is used as a context manager.
"""

import asyncio
from collections.abc import AsyncGenerator

from jobs.catalogue import Catalogue
from service.broker.broker import Broker
from service.settings import Settings


class Brokers:
    """The brokers of one Redis. They are closed with their loops, if not before."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._settings, self._catalogue = settings, catalogue
        #: What the first loop gets; made now, so that a wrong URL is found now.
        self.first = Broker.open(settings, catalogue)
        self._unclaimed = [self.first]
        self._opened: dict[asyncio.AbstractEventLoop, Broker] = {}
        self._held: dict[asyncio.AbstractEventLoop, AsyncGenerator[Broker]] = {}

    async def here(self) -> Broker:
        """The running loop's. It connects when first used."""
        loop = asyncio.get_running_loop()
        return self._opened.get(loop) or await self._open(loop)

    async def aclose(self) -> None:
        """Close the running loop's, if there is one. The next use opens another."""
        if held := self._held.pop(asyncio.get_running_loop(), None):
            await held.aclose()

    async def _open(self, loop: asyncio.AbstractEventLoop) -> Broker:
        held = self._held[loop] = self._hold(loop)
        return await anext(held)

    async def _hold(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[Broker]:
        """A loop that ends closes the generators that were begun in it: it comes to the end here,
        also where nobody runs the lifespan of the app that the requests were for.
        """
        try:
            broker = self._unclaimed.pop()
        except IndexError:
            broker = Broker.open(self._settings, self._catalogue)
        self._opened[loop] = broker
        try:
            yield broker
        finally:
            del self._opened[loop]
            self._held.pop(loop, None)
            await broker.aclose()
