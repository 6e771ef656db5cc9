"""Submissions that arrive together: one write to Redis, and to each caller its own answer."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
import redis
from rq import Queue

from jobs.catalogue import Catalogue
from service.broker import group
from service.broker.connection import connect_async
from service.broker.enqueuer import Enqueuer, Submission
from service.broker.records import JobRecord
from service.errors import RedisAway
from tests.conftest import RedisServer, eventually
from tests.integration.test_enqueue_once import Proxy

HANG = 10.0  # seconds; a bound for hangs

Steps = Callable[[Enqueuer], Coroutine[Any, Any, Any]]


def carry_out(url: str, steps: Steps) -> Any:
    """Run them with an enqueuer whose Redis knows the script already."""

    async def with_enqueuer() -> Any:
        client = connect_async(url)
        try:
            enqueuer = Enqueuer(client)
            return await asyncio.wait_for(steps(enqueuer), 6 * HANG)
        finally:
            await client.aclose()

    return asyncio.run(with_enqueuer())


@pytest.fixture
def submission(catalogue: Catalogue) -> Callable[..., Submission]:
    def make(value: Any = None, **options: Any) -> Submission:
        return Submission(task=catalogue["echo"], parameters={"value": value}, **options)

    return make


def queued(client: redis.Redis, name: str = "default") -> list[str]:
    return Queue(name, connection=client, serializer="json").get_job_ids()


async def all_of(calls: list[Awaitable[JobRecord]]) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


def test_many_at_once_are_each_accepted_once_and_reach_redis_in_few_writes(
    own: RedisServer, submission: Callable[..., Submission]
) -> None:
    def reads() -> int:
        return int(own.client.info("stats")["total_reads_processed"])

    async def steps(enqueuer: Enqueuer) -> list[Any]:
        await enqueuer.submit(submission())
        before = reads()
        jobs = await all_of([enqueuer.submit(submission(number)) for number in range(600)])
        assert reads() - before < 120  # 16 kB each, by the server's own measure
        return jobs

    jobs = carry_out(own.url, steps)
    assert sorted(job.id for job in jobs) == sorted(queued(own.client)[1:])
    assert own.client.hget(f"rq:job:{jobs[7].id}", "description") == b"echo(value=7)"


@pytest.mark.parametrize("size", [1, 50])
def test_a_group_whose_reply_is_lost_is_accepted_once(
    redis_url: str,
    connection: redis.Redis,
    submission: Callable[..., Submission],
    size: int,
) -> None:
    proxy = Proxy(redis_url.removeprefix("unix://"))

    async def steps(enqueuer: Enqueuer) -> list[Any]:
        await enqueuer.submit(submission())
        proxy.lose_reply(lambda request, reply: b"EVALSHA" in request)
        return await all_of([enqueuer.submit(submission(number)) for number in range(size)])

    jobs = carry_out(proxy.url, steps)
    proxy.close()
    assert len(proxy.lost) == 1
    assert sorted(job.id for job in jobs) == sorted(queued(connection)[1:])


def test_one_that_redis_refuses_is_told_so_and_the_others_are_accepted(
    redis_url: str, connection: redis.Redis, submission: Callable[..., Submission]
) -> None:
    connection.set("rq:queue:odd", "not a list")

    async def steps(enqueuer: Enqueuer) -> list[Any]:
        await enqueuer.submit(submission())
        queues = ["odd" if number == 10 else "default" for number in range(21)]
        return await all_of([enqueuer.submit(submission(queue=queue)) for queue in queues])

    answers = carry_out(redis_url, steps)
    refused = answers.pop(10)
    assert isinstance(refused, RedisAway)
    assert refused.extra == {"in_doubt": False}
    assert "WRONGTYPE" in refused.detail
    assert sorted(job.id for job in answers) == sorted(queued(connection)[1:])


def test_a_caller_that_leaves_harms_nobody(
    redis_url: str, connection: redis.Redis, submission: Callable[..., Submission]
) -> None:
    async def steps(enqueuer: Enqueuer) -> list[Any]:
        accepted = [await enqueuer.submit(submission())]
        for turns in range(6):  # of the event loop, until some leave: at each stage of the way
            callers = [asyncio.create_task(enqueuer.submit(submission())) for _ in range(20)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for leaving in callers[::3]:
                leaving.cancel()
            answers = await asyncio.gather(*callers, return_exceptions=True)
            stayed = [job for caller, job in enumerate(answers) if caller % 3]
            assert all(isinstance(job, JobRecord) for job in stayed), stayed
            accepted += stayed
        return accepted

    accepted = [job.id for job in carry_out(redis_url, steps)]
    on_queue = queued(connection)
    assert set(accepted) <= set(on_queue)
    assert len(set(on_queue)) == len(on_queue)


def test_a_redis_that_was_started_anew_is_taught_the_script_again(
    own: RedisServer, submission: Callable[..., Submission]
) -> None:
    async def steps(enqueuer: Enqueuer) -> list[Any]:
        jobs = [await enqueuer.submit(submission())]
        for forget in (own.client.script_flush, restart):
            forget()
            jobs += await all_of([enqueuer.submit(submission(number)) for number in range(30)])
        return jobs

    def restart() -> None:
        own.kill()
        own.start()

    jobs = carry_out(own.url, steps)
    assert sorted(job.id for job in jobs) == sorted(queued(own.client))


def test_what_was_never_sent_to_a_redis_that_stalls_is_not_in_doubt_and_not_there(
    own: RedisServer, submission: Callable[..., Submission]
) -> None:
    async def steps(enqueuer: Enqueuer) -> tuple[list[RedisAway], float]:
        await enqueuer.submit(submission())
        assert own.process is not None
        own.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        callers = []
        for _ in range(group.IN_FLIGHT + 3):
            callers.append(asyncio.create_task(enqueuer.submit(submission())))
            await asyncio.sleep(0.02)
        answers = await asyncio.gather(*callers, return_exceptions=True)
        return answers, time.monotonic() - began  # type: ignore[return-value]

    answers, taken = carry_out(own.url, steps)
    assert own.process is not None
    own.process.send_signal(signal.SIGCONT)
    assert all(isinstance(answer, RedisAway) for answer in answers), answers
    assert taken < HANG
    sent, kept_back = answers[: group.IN_FLIGHT], answers[group.IN_FLIGHT :]
    assert [answer.extra["in_doubt"] for answer in sent] == [True] * len(sent)
    assert [answer.extra for answer in kept_back] == [{"in_doubt": False}] * 3
    there = {answer.extra["job"] for answer in sent}
    eventually(lambda: there <= set(queued(own.client)))
    assert len(queued(own.client)) == 1 + len(sent)


def test_groups_are_bounded_in_calls_and_bytes(
    redis_url: str,
    connection: redis.Redis,
    submission: Callable[..., Submission],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group, "MOST_CALLS", 7)
    monkeypatch.setattr(group, "MOST_BYTES", 4000)
    sizes: list[int] = []

    async def steps(enqueuer: Enqueuer) -> list[Any]:
        caller = enqueuer._commit._caller
        exchange = caller.exchange

        async def counted(calls: Any, wait: Any) -> None:
            sizes.append(len(calls))
            assert len(calls) == 1 or sum(len(call.packed) for call in calls) <= 4000
            await exchange(calls, wait)

        monkeypatch.setattr(caller, "exchange", counted)
        large = [enqueuer.submit(submission(list(range(n * 1000)))) for n in range(3)]
        return await all_of([*large, *(enqueuer.submit(submission()) for _ in range(40))])

    jobs = carry_out(redis_url, steps)
    assert sorted(job.id for job in jobs) == sorted(queued(connection))
    assert 1 < max(sizes) <= 7


def test_who_was_told_that_nothing_was_accepted_can_rely_on_it(
    own: RedisServer, submission: Callable[..., Submission], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow() -> None:
        await asyncio.sleep(1)

    async def told() -> RedisAway:
        client = connect_async(own.url)
        with pytest.raises(RedisAway) as refused:
            await Enqueuer(client, assure=slow).submit(submission())
        await asyncio.sleep(2)  # in which the group would have been sent
        await client.aclose()
        return refused.value

    monkeypatch.setattr(group, "ANSWER_WITHIN", 0.2)
    assert asyncio.run(told()).extra == {"in_doubt": False}
    assert queued(own.client) == []
