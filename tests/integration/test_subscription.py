"""One connection for all channels: each who listens is told once Redis has taken note."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis

from service.broker.connection import connect_async
from service.broker.subscription import Subscription
from service.logs import ABOUT
from tests.conftest import PATIENCE
from tests.integration.streams import channels

Heard = asyncio.Queue[bytes | None]


@asynccontextmanager
async def subscribed(url: str) -> AsyncIterator[Subscription]:
    client = connect_async(url)
    subscription = Subscription(client)
    try:
        yield subscription
    finally:
        await subscription.aclose()
        await client.aclose()


async def next_of(heard: Heard) -> bytes | None:
    async with asyncio.timeout(PATIENCE):
        return await heard.get()


def test_who_comes_as_another_leaves_is_told_that_changes_are_heard(
    redis_url: str, connection: redis.Redis
) -> None:
    async def run() -> None:
        first, second = Heard(), Heard()
        async with subscribed(redis_url) as subscription:
            subscription.listen("paddock:any", first.put_nowait)
            assert await next_of(first) is None
            subscription.leave("paddock:any")
            subscription.listen("paddock:any", second.put_nowait)  # before Redis is told of either
            assert await next_of(second) is None
            await asyncio.to_thread(connection.publish, "paddock:any", "news")
            assert await next_of(second) == b"news"
            assert first.empty()

    asyncio.run(run())
    assert channels(connection) == []


def test_who_listens_again_right_after_leaving_alone_on_a_connection_misses_nothing(
    redis_url: str, connection: redis.Redis
) -> None:
    async def run() -> None:
        async with subscribed(redis_url) as subscription:
            for number in range(20):
                heard = Heard()
                subscription.listen("paddock:any", heard.put_nowait)
                assert await next_of(heard) is None
                await asyncio.to_thread(connection.publish, "paddock:any", str(number))
                assert await next_of(heard) == str(number).encode()
                subscription.leave("paddock:any")
                for _ in range(number % 5):
                    await asyncio.sleep(0)  # Redis is told of it meanwhile, or not

    asyncio.run(run())


def test_what_is_heard_for_all_belongs_to_no_request(
    redis_url: str, connection: redis.Redis
) -> None:
    async def run() -> None:
        abouts = asyncio.Queue[object]()
        ABOUT.set({"request_id": "the first"})
        async with subscribed(redis_url) as subscription:
            subscription.listen("paddock:any", lambda _: abouts.put_nowait(dict(ABOUT.get())))
            async with asyncio.timeout(PATIENCE):
                assert await abouts.get() == {}

    asyncio.run(run())
