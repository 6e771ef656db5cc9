"""The same for code with an event loop: an `AsyncSession`, and a relay in its lifespan."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2 as httpx
import pytest
import redis
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)

from service.adapters.jobs import Jobs
from service.adapters.outbox import outbox_relay
from service.adapters.outbox.sending import Sender
from service.adapters.outbox.sweeper import Sweeper, sweeper_of
from tests.conftest import PATIENCE, RedisServer, Start, eventually
from tests.integration.outbox_program import Program, job_ids, orders, queued, running
from tests.sample_tasks import echo

TICK = 0.01  # seconds
HANG = 100  # ticks; a bound for a loop that is held up, no measure of speed


@asynccontextmanager
async def an_engine(program: Program) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(program.database.async_url)
    yield engine
    await sweeper_of(engine.sync_engine, program.door).leave()
    await engine.dispose()


async def until(holds: Callable[[], object]) -> None:
    await asyncio.to_thread(eventually, holds)


def test_what_an_async_session_submits_is_enqueued_with_its_commit_alone(
    program: Program, connection: redis.Redis, start_worker: Start
) -> None:
    jobs = Jobs(program.door)
    start_worker()

    async def app() -> None:
        async with an_engine(program) as engine:
            sessions = async_sessionmaker(engine)
            with pytest.raises(RuntimeError):
                async with sessions.begin() as session:
                    jobs.submit_on_commit(session, echo, "rolled back")
                    await session.flush()
                    raise RuntimeError("on second thought")
            async with sessions.begin() as session:
                kept = jobs.submit_on_commit(session, echo, "kept")
                with pytest.raises(RuntimeError):
                    async with session.begin_nested():
                        jobs.submit_on_commit(session, echo, "taken back")
                        await session.flush()
                        raise RuntimeError("on second thought")
                await session.execute(insert(orders).values(name="kept"))
            await until(program.is_sent)
            assert await kept.result(PATIENCE) == "kept"
            async with outbox_relay(engine, program.door) as relay:
                assert await relay.sweep() == 0
        assert job_ids(connection) == [kept.id]

    asyncio.run(app())
    assert program.ordered() == ["kept"]


def test_an_async_scoped_session_will_do(program: Program, connection: redis.Redis) -> None:
    async def app() -> None:
        async with an_engine(program) as engine:
            scoped = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
            Jobs(program.door).submit_on_commit(scoped, echo, 1)
            await scoped.commit()
            await scoped.remove()
            await until(program.is_sent)

    asyncio.run(app())
    assert len(queued(connection)) == 1


def test_a_relay_in_the_lifespan_sends_what_a_dead_program_left(
    program: Program, connection: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, program.sessions.begin() as session:
        patch.setattr(Sweeper, "nudge", lambda *_arguments, **_options: None)
        left = [program.jobs.submit_on_commit(session, echo, n).id for n in range(300)]
        session.commit()

    async def app() -> None:
        async with an_engine(program) as engine:
            async with outbox_relay(engine, program.door, interval=0.05):
                await until(program.is_sent)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(app())
    assert sorted(queued(connection)) == left


def test_a_script_that_ends_with_its_relay_has_sent_what_it_committed(
    program: Program, connection: redis.Redis
) -> None:
    async def script() -> None:
        async with (
            an_engine(program) as engine,
            outbox_relay(engine, program.door),
            AsyncSession(engine) as session,
        ):
            Jobs(program.door).submit_on_commit(session, echo, 1)
            await session.commit()

    asyncio.run(script())
    assert program.is_sent()
    assert len(queued(connection)) == 1


@pytest.fixture
def with_silent_redis(program: Program, own: RedisServer) -> Iterator[Program]:
    """The program, on a Redis that takes requests and answers none."""
    settings = program.door.settings.model_copy(update={"redis_url": SecretStr(own.url)})
    assert own.process is not None
    with running(program.database, settings, program.door.catalogue) as program:
        own.process.send_signal(signal.SIGSTOP)
        yield program
        go_on(own)


def go_on(server: RedisServer) -> None:
    assert server.process is not None
    server.process.send_signal(signal.SIGCONT)


def test_commits_in_endpoints_wait_for_no_redis_and_do_not_hold_up_the_loop(
    with_silent_redis: Program, own: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    program, jobs = with_silent_redis, Jobs(with_silent_redis.door)
    ids: list[str] = []

    async def serve() -> None:
        async with an_engine(program) as engine:
            sessions = async_sessionmaker(engine)

            @asynccontextmanager
            async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
                async with outbox_relay(engine, program.door, interval=0.1):
                    yield

            app = FastAPI(lifespan=lifespan)

            @app.post("/orders/{name}")
            async def order(name: str) -> str:
                async with sessions.begin() as session:
                    await session.execute(insert(orders).values(name=name))
                    return jobs.submit_on_commit(session, echo, name).id

            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(
                    transport=httpx.ASGITransport(app=app), base_url="http://app"
                ) as client,
            ):
                for number in range(10):  # each answered while Redis answers nothing
                    ids.append((await client.post(f"/orders/{number}")).json())
                await until(lambda: "waits: Redis can't be reached" in caplog.text)
                assert [row.id for row in program.outbox()] == ids
                go_on(own)
                await until(program.is_sent)

    delays = asyncio.run(with_a_pulse(serve()))
    assert queued(own.client) == ids
    assert len(delays) > 5
    assert max(delays) < HANG


async def with_a_pulse(work: Awaitable[None]) -> list[int]:
    """How often a thread ticked between the loop's own ticks, while this ran.

    Where the machine is busy or the process is stopped, both are late, and neither is held up.
    """
    delays: list[int] = []
    ticks, over = 0, threading.Event()

    def beat_beside() -> None:
        nonlocal ticks
        while not over.wait(TICK):
            ticks += 1

    async def beat() -> None:
        while True:
            began = ticks
            await asyncio.sleep(TICK)
            delays.append(ticks - began)

    beside = threading.Thread(target=beat_beside)
    beside.start()
    beating = asyncio.create_task(beat())
    try:
        await work
    finally:
        beating.cancel()
        over.set()
        beside.join()
    return delays


def test_a_sweep_that_is_canceled_as_by_the_end_of_its_loop_leaves_its_row_for_another(
    with_silent_redis: Program, own: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, sending, send = with_silent_redis, threading.Event(), Sender.send

    async def announced(sender: Sender, *arguments: Any) -> Any:
        sending.set()
        return await send(sender, *arguments)

    async def app() -> None:
        async with an_engine(program) as engine:
            async with AsyncSession(engine) as session:
                Jobs(program.door).submit_on_commit(session, echo, 1)
                await session.commit()
            await asyncio.to_thread(sending.wait, PATIENCE)
            sweep = sweeper_of(engine.sync_engine, program.door)._work
            assert isinstance(sweep, asyncio.Task)
            sweep.cancel()
            await asyncio.wait([sweep])

    with monkeypatch.context() as patch:
        patch.setattr(Sender, "send", announced)
        asyncio.run(app())
    assert len(program.outbox()) == 1
    go_on(own)
    eventually(lambda: program.can_sweep() and program.is_sent())
    assert len(queued(own.client)) == 1
