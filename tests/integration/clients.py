"""Both clients, called in the same way."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

from service.client import AsyncClient, Client


class InLoop:
    """An AsyncClient whose calls are each run to their end, as those of a Client are."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncClient(*arguments, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            made = method(*arguments, **options)
            return self._items(made) if isinstance(made, AsyncIterator) else self._runner.run(made)

        return call

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    def _items(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(items)

        while True:
            try:
                yield self._runner.run(following())
            except StopAsyncIteration:
                return


def client(kind: str, url: str, *arguments: Any, **options: Any) -> Client:
    """A client of this kind, `sync` or `async`."""
    made = Client if kind == "sync" else InLoop
    return cast(Client, made(url, *arguments, **options))
