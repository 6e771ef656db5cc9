"""Read by type checkers, never run: they know tasks that are called as Celery's are.

As in `calls_of_tasks`, a line that ends in `# wrong` must be an error, and no other line may be.
"""

from datetime import UTC, datetime
from typing import Any, assert_type

from jobs import job
from jobs.calling import Signature, SubmittedJob
from service.adapters import signatures
from service.adapters.canvas import chain, chord, group
from service.adapters.group_result import GroupResult
from service.adapters.result import AsyncResult


@job
def count(text: str, times: int = 1) -> int:
    return len(text) * times


@job(queue="io")
async def fetch(url: str) -> bytes:
    return url.encode()


def called() -> None:
    assert_type(count.delay("a", times=2).get(timeout=30), int)
    assert_type(count.delay("a").get(propagate=False), Any)
    assert_type(count.apply_async(("a",), {"times": 2}, countdown=3).get(), int)
    assert_type(fetch.delay(url="x").get(), bytes)
    assert_type(fetch.apply_async(("x",), eta=datetime.now(UTC)).get(), bytes)
    assert_type(count.AsyncResult("id").get(), int)
    assert_type(AsyncResult[int]("id").get(), int)

    count.delay(3)  # wrong
    count.delay("a", tims=2)  # wrong
    fetch.delay()  # wrong
    count.apply_async(("a",), countdwon=3)  # wrong
    count.apply_async(("a",), serializer="json")  # wrong
    count.apply_async(("a",), eta="tomorrow")  # wrong
    count.apply_async(("a",), retry_policy={"max_retrys": 3})  # wrong


def composed() -> None:
    assert_type(count.s(times=2).delay("a").get(), int)
    assert_type(fetch.si("x").set(queue="io").apply_async().get(), bytes)
    assert_type(group(count.s(each) for each in "ab")(), GroupResult)
    assert_type(chain(fetch.s("x"), count.s()), chain)
    chain([fetch.s("x"), count.s()]).apply_async(countdown=3, link=[count.s(), chain(count.s())])
    chord([count.s("a"), fetch.s("x")])(count.s(), queue="io")
    (fetch.s("x") | count.s()).delay()

    count.si(3)  # wrong
    group(count)  # wrong
    chain("count")  # wrong
    count.s("a").set(queues="io")  # wrong


def what_a_task_returns_is_what_the_service_has(task_id: str) -> None:
    result: SubmittedJob[int] = AsyncResult[int](task_id)
    signature: Signature[int] = signatures.Signature(count)
    assert result and signature
