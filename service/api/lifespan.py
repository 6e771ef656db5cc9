"""Lifespans: what has to be closed is, also where Paddock is a part of the user's application."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.types import Lifespan

from service.broker.brokers import Brokers


def lifespans(*parts: Lifespan[Any] | Starlette) -> Lifespan[Any]:
    """One lifespan of several, for an application that others are mounted in.

        work = create_app(settings)
        app = FastAPI(lifespan=lifespans(mine, work))
        app.mount("/work", work)

    Starlette does not run the lifespans of mounted applications. Those that are given here are run
    with the application's own: begun in their order, ended in the reverse one.
    """

    @asynccontextmanager
    async def all_of_them(app: Any) -> AsyncIterator[Any]:
        state: dict[str, Any] = {}
        async with AsyncExitStack() as stack:
            for part in parts:
                lifespan: AbstractAsyncContextManager[Any] = (
                    part.router.lifespan_context(part) if isinstance(part, Starlette) else part(app)
                )
                begun: Mapping[str, Any] | None = await stack.enter_async_context(lifespan)
                state |= begun or {}
            yield state or None  # not every server has a place for one

    return all_of_them


def closing(brokers: Brokers) -> Lifespan[Any]:
    """The lifespan of what these brokers serve."""

    @asynccontextmanager
    async def until_the_end(_app: Any) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await brokers.aclose()

    return until_the_end
