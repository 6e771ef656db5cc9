"""Whatever breaks between the Python client and the service, a job is submitted exactly once."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from service.client import (
    Client,
    JobNotFound,
    ParametersInvalid,
    QueueFull,
    RedisAway,
    RequestFailed,
    Retries,
    ServiceUnreachable,
    StatusConflict,
    WaitTimeout,
)
from tests.conftest import PATIENCE, TASKS, Start, eventually
from tests.integration.clients import client
from tests.integration.faulty_proxy import Answer, FaultyProxy, HangUp, Lose, Stall
from tests.integration.serving import a_service, free_port, is_live

LATER = 3600  # seconds
QUICKLY = Retries(first=0.01, longest=0.05)
FULL = b'{"type": "urn:paddock:problem:queue-full", "title": "The queue is full", "status": 429}'
AWAY = b'{"type": "urn:paddock:problem:redis-away", "status": 503, "in_doubt": true}'


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with a_service(TASKS) as address:
        yield address


@pytest.fixture
def proxy(url: str) -> Iterator[FaultyProxy]:
    made = FaultyProxy(url)
    yield made
    made.close()


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def paddock(kind: str, proxy: FaultyProxy) -> Iterator[Client]:
    made = client(kind, proxy.url, retries=QUICKLY)
    yield made
    made.close()


@pytest.fixture
def direct(url: str) -> Iterator[Client]:
    with Client(url) as made:
        yield made


@pytest.fixture
def mark() -> str:
    """A value that no other job has."""
    return str(uuid4())


def marked(direct: Client, mark: str) -> list[str]:
    return [job.id for job in direct.jobs() if job.parameters == {"value": mark}]


# Submitting


@pytest.mark.parametrize(
    "faults",
    [
        [HangUp()],
        [Lose()],
        [Lose(after=10)],
        [Answer(502, body=b"<h1>Bad gateway</h1>"), Answer(504), Answer(408)],
        [Answer(429, body=FULL), Answer(503, body=AWAY)],
        [Lose(), HangUp(), Answer(503, body=AWAY), Lose()],
    ],
    ids=["hung up", "lost", "cut", "a proxy's answers", "the service's answers", "all of them"],
)
def test_a_submission_that_meets_faults_becomes_one_job(
    paddock: Client, proxy: FaultyProxy, direct: Client, mark: str, faults: list[Any]
) -> None:
    proxy.faults = list(faults)
    job = paddock.submit("echo", {"value": mark})
    assert marked(direct, mark) == [job.id]
    assert len(proxy.seen) == len(faults) + 1
    keys = {request.headers["idempotency-key"] for request in proxy.seen}
    assert len(keys) == 1 and UUID(keys.pop())
    assert {request.body for request in proxy.seen} == {proxy.seen[0].body}


def test_an_answer_that_takes_too_long_is_asked_for_again(
    kind: str, proxy: FaultyProxy, direct: Client, mark: str
) -> None:
    proxy.faults = [Stall(5)]
    impatient = client(kind, proxy.url, timeout=0.5, retries=QUICKLY)
    job = impatient.submit("echo", {"value": mark})
    impatient.close()
    assert marked(direct, mark) == [job.id]
    assert len(proxy.seen) >= 2


def test_each_submission_bears_a_key_of_its_own_unless_it_is_given_one(
    paddock: Client, proxy: FaultyProxy
) -> None:
    for key in (None, None, "order-1042"):
        paddock.submit("echo", idempotency_key=key)
    first, second, given = (request.headers["idempotency-key"] for request in proxy.seen)
    assert first != second and given == "order-1042"


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_waited_for(paddock: Client, proxy: FaultyProxy, status: int) -> None:
    proxy.faults = [Answer(status, {"Retry-After": "1"}), HangUp()]
    paddock.submit("echo")
    first, second, third = (request.at for request in proxy.seen)
    assert second - first >= 1
    assert third - second < PATIENCE


def test_more_patience_than_a_client_has_is_not_asked_of_it(
    paddock: Client, proxy: FaultyProxy
) -> None:
    proxy.faults = [Answer(429, {"Retry-After": "600"}, FULL)]
    with pytest.raises(QueueFull, match="The queue is full") as full:
        paddock.submit("echo")
    assert (full.value.status, full.value.retry_after, full.value.tries) == (429, 600, 1)


def test_what_is_refused_is_not_sent_again(paddock: Client, proxy: FaultyProxy) -> None:
    for refusal in (400, 401, 403, 404, 409, 410, 413, 415, 422, 500):
        proxy.faults = [Answer(refusal)]
        with pytest.raises(RequestFailed, match=str(refusal)) as refused:
            paddock.submit("echo")
        assert refused.value.tries == 1
    assert len(proxy.seen) == 10
    with pytest.raises(ParametersInvalid):
        paddock.submit("echo", {"unknown": 1})


def test_when_its_tries_are_used_up_the_last_failure_is_raised(
    kind: str, proxy: FaultyProxy, direct: Client, mark: str
) -> None:
    trying = client(kind, proxy.url, retries=Retries(max=2, first=0.01))
    proxy.faults = [HangUp(), Lose(), Answer(503, body=AWAY)]
    with pytest.raises(RedisAway) as away:
        trying.submit("echo", {"value": mark})
    assert (away.value.tries, len(proxy.seen)) == (3, 3)
    assert away.value.problem["in_doubt"] is True
    assert away.value.idempotency_key == proxy.seen[0].headers["idempotency-key"]
    # It had been accepted. With its key it is not so again.
    job = trying.submit("echo", {"value": mark}, idempotency_key=away.value.idempotency_key)
    assert marked(direct, mark) == [job.id]

    proxy.faults = [HangUp()] * 3
    with pytest.raises(ServiceUnreachable, match="POST") as unreachable:
        trying.submit("echo")
    assert unreachable.value.tries == 3
    trying.close()


def test_without_retries_a_failure_is_raised_at_once(kind: str, proxy: FaultyProxy) -> None:
    proxy.faults = [HangUp()]
    once = client(kind, proxy.url, retries=Retries(max=0))
    with pytest.raises(ServiceUnreachable):
        once.submit("echo")
    once.close()
    assert len(proxy.seen) == 1


# Batches


@pytest.mark.parametrize("form", ["list", "function"])
def test_a_batch_whose_answer_is_lost_is_accepted_once(
    paddock: Client, proxy: FaultyProxy, direct: Client, mark: str, form: str
) -> None:
    sets = [{"value": mark}] * 300
    proxy.faults = [Lose(), Answer(503, body=AWAY), Lose(after=50)]
    batch = paddock.batch("echo", sets if form == "list" else lambda: iter(sets), delay=LATER)
    assert sorted(marked(direct, mark)) == sorted(batch.jobs)
    assert len(proxy.seen) == 4
    assert {request.body for request in proxy.seen} == {proxy.seen[0].body}
    direct.cancel_batch(batch)


def test_a_batch_out_of_an_iterator_is_sent_once(
    paddock: Client, proxy: FaultyProxy, direct: Client, mark: str
) -> None:
    proxy.faults = [Lose()]
    with pytest.raises(ServiceUnreachable) as lost:
        paddock.batch("echo", ({"value": mark} for _ in range(10)), delay=LATER)
    assert len(proxy.seen) == lost.value.tries == 1
    # It had been accepted: whoever has the sets again is told which jobs they became.
    key = lost.value.idempotency_key
    batch = paddock.batch("echo", [{"value": mark}] * 10, delay=LATER, idempotency_key=key)
    assert sorted(marked(direct, mark)) == sorted(batch.jobs)
    direct.cancel_batch(batch)


def test_an_iterator_that_was_not_begun_is_sent_when_the_service_is_there(
    kind: str, url: str
) -> None:
    """What could not connect has read nothing."""
    port = free_port()
    early = client(kind, f"http://127.0.0.1:{port}")
    with ThreadPoolExecutor(1) as pool:
        sets = ({"value": n} for n in range(10))
        batch = pool.submit(lambda: early.batch("echo", sets))
        time.sleep(0.2)
        late = FaultyProxy(url, port)
        try:
            assert batch.result(PATIENCE).count == 10
        finally:
            late.close()
    early.close()


def test_results_go_on_where_the_connection_broke(
    paddock: Client, proxy: FaultyProxy, direct: Client
) -> None:
    batch = direct.batch("echo", [{"value": n} for n in range(50)])
    direct.wait_batch(batch, PATIENCE)
    proxy.faults = [Lose(after=500), HangUp(), Lose(after=2_000), Answer(503), Lose(after=2_100)]
    assert [row.result for row in paddock.batch_results(batch)] == list(range(50))
    assert len(proxy.seen) == 6
    proxy.faults = [Lose(after=500)] + [HangUp()] * (QUICKLY.max + 1)
    with pytest.raises(ServiceUnreachable):
        list(paddock.batch_results(batch))


# Acting


def test_an_action_whose_answer_is_lost_is_not_taken_for_a_refusal(
    paddock: Client, proxy: FaultyProxy, direct: Client
) -> None:
    waiting, failed = direct.submit("echo", delay=LATER), direct.submit("fail_as", {"kind": "key"})
    proxy.faults = [Lose()]
    assert paddock.cancel(waiting).status == "canceled"
    direct.wait(failed, PATIENCE)
    proxy.faults = [Lose()]
    paddock.delete(waiting)
    with pytest.raises(JobNotFound):
        paddock.delete(waiting)
    proxy.faults = [HangUp()]
    with pytest.raises(StatusConflict) as conflict:
        paddock.cancel(failed)
    assert conflict.value.job_status == "failed"


def test_a_retry_whose_answer_is_lost_is_one_retry(
    paddock: Client, proxy: FaultyProxy, direct: Client
) -> None:
    failed = direct.submit("fail_as", {"kind": "key"})
    assert direct.wait(failed, PATIENCE).status == "failed"
    direct.pause_queue("default")  # or it may have failed again before it is asked again
    proxy.faults = [Lose()]
    assert paddock.retry(failed).status == "queued"
    direct.resume_queue("default")
    assert direct.wait(failed, PATIENCE).attempts == 2


# The API dies


KNOWN = ",".join((*TASKS, "tests.sample_celery_tasks"))


def start_api(start: Start, port: int) -> "subprocess.Popen[str]":
    process = start(
        *(sys.executable, "-m", "service.cli", "serve", "--port", str(port)),
        PADDOCK_TASKS=KNOWN,
    )
    eventually(lambda: is_live(f"http://127.0.0.1:{port}"))
    return process


def test_waiting_outlives_the_api(
    kind: str, start: Start, start_worker: Start, tmp_path: Path
) -> None:
    start_worker(PADDOCK_TASKS=KNOWN)
    port = free_port()
    api = start_api(start, port)
    paddock = client(kind, f"http://127.0.0.1:{port}")
    job = paddock.submit("run_until_told", {"path": str(tmp_path / "runs")})
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(lambda: paddock.result(job, PATIENCE))
        time.sleep(random.uniform(0.2, 0.8))
        api.kill()
        api.wait()
        time.sleep(0.5)  # in which nobody listens
        assert not waiting.done()
        start_api(start, port)
        (tmp_path / "runs.over").touch()
        assert waiting.result(PATIENCE) == "told"
    assert paddock.job(job).attempts == 1
    paddock.close()


def test_events_outlive_the_api(kind: str, start: Start, start_worker: Start) -> None:
    port = free_port()
    api = start_api(start, port)
    paddock = client(kind, f"http://127.0.0.1:{port}")
    job = paddock.submit("echo", {"value": 1})
    events = paddock.events(job)
    assert next(events).job.status == "queued"
    api.kill()
    api.wait()
    with ThreadPoolExecutor(1) as pool:
        rest = pool.submit(lambda: [event.job.status for event in events])
        start_worker()
        start_api(start, port)
        assert rest.result(PATIENCE)[-1] == "finished"
    paddock.close()


def test_waiting_ends_in_time_where_nobody_answers(kind: str) -> None:
    paddock = client(kind, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(WaitTimeout) as late:
        paddock.wait("some-job", timeout=0.3)
    assert isinstance(late.value.__cause__, ServiceUnreachable)
    with pytest.raises(WaitTimeout):
        paddock.wait_batch("some-batch", timeout=0.3)
    paddock.close()
