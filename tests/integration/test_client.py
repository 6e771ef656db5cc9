"""The Python client against the real service, with and without an event loop."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from service.client import (
    AnswerUnreadable,
    AsyncClient,
    BatchNotFound,
    Client,
    JobCanceled,
    JobFailed,
    JobNotFound,
    KeyMissing,
    OptionsInvalid,
    PaddockHTTPError,
    ParametersInvalid,
    QueueNotFound,
    StatusConflict,
    TaskNotFound,
    WaitTimeout,
)
from service.client.job_calls import PAGE
from tests.conftest import PATIENCE, ROOT, TASKS, Start
from tests.integration.clients import client
from tests.integration.faulty_proxy import Answer, FaultyProxy
from tests.integration.serving import a_service, serve

ALL_TASKS = (*TASKS, "tests.sample_worker_tasks", "tests.sample_waiting_tasks")
LATER = 3600  # seconds
NO_ID = "0190d5a5-0000-7000-8000-000000ffffff"
ALONE = ("httpx", "httpcore", "h11", "anyio", "certifi", "idna", "typing_extensions.py")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with a_service((*ALL_TASKS, "tests.sample_reporting_tasks")) as address:
        yield address


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def paddock(kind: str, url: str) -> Iterator[Client]:
    made = client(kind, url)
    yield made
    made.close()


# Submitting


def test_what_is_submitted_is_run_and_its_result_returned(paddock: Client) -> None:
    job = paddock.submit("heavy_cpu_task", {"n": 10})
    assert (job.task, job.status, job.queue, job.parameters) == (
        *("heavy_cpu_task", "queued", "cpu"),
        {"n": 10},
    )
    assert job.enqueued_at is not None and job.enqueued_at.tzinfo is not None
    assert paddock.result(job, PATIENCE) == 285
    ended = paddock.job(job.id)
    assert (ended.status, ended.result, ended.attempts, ended.has_ended) == (
        *("finished", 285, 1),
        True,
    )
    assert ended.ended_at is not None and ended.started_at is not None
    assert timedelta(0) <= ended.ended_at - ended.started_at < timedelta(seconds=PATIENCE)


def test_a_task_without_parameters_needs_none(paddock: Client) -> None:
    assert paddock.result(paddock.submit("echo"), PATIENCE) is None


def test_options_are_no_parameters(paddock: Client) -> None:
    moment = datetime.now(UTC) + timedelta(hours=1)
    for options in ({"delay": LATER}, {"at": moment}):
        job = paddock.submit("echo", {"value": 1}, queue="cpu", timeout=7, **options)  # type: ignore[arg-type]
        assert (job.status, job.queue, job.parameters) == ("scheduled", "cpu", {"value": 1})
        assert job.scheduled_for is not None
        assert abs(job.scheduled_for - moment) < timedelta(seconds=PATIENCE)
        paddock.delete(job)
    job = paddock.submit("echo", expires_in=LATER)
    assert job.expires_at is not None
    assert abs(job.expires_at - moment) < timedelta(seconds=PATIENCE)


def test_a_submission_may_wait_for_its_result(paddock: Client) -> None:
    job = paddock.submit("echo", {"value": "here"}, wait=PATIENCE)
    assert (job.status, job.result) == ("finished", "here")


def test_a_job_may_be_run_after_others(paddock: Client) -> None:
    first = paddock.submit("double", {"n": 21}, delay=LATER)
    second = paddock.submit("double_again", depends_on=[first], result_as="n")
    third = paddock.submit("echo", depends_on=(first.id, second), on_dependency_failure="run")
    assert second.depends_on == (first.id,)
    assert third.depends_on == (first.id, second.id)
    assert (third.status, third.waiting_for) == ("waiting", "dependencies")
    halves = [paddock.submit("double", {"n": n}) for n in (1, 2)]
    together = paddock.submit("echo", depends_on=halves, results_as="value")
    assert paddock.result(together, PATIENCE) == [2, 4]
    paddock.cancel(first)
    assert paddock.submit("echo", depends_on=[]).depends_on == ()
    with pytest.raises(JobFailed):
        paddock.result(second, PATIENCE)


class Color(Enum):
    BLUE = "blue"


@dataclass
class Point:
    x: float
    y: float


def test_python_values_reach_the_task_as_what_they_were(paddock: Client) -> None:
    given = {
        "count": 3,
        "when": datetime(2030, 1, 1, tzinfo=UTC),
        "key": UUID(int=5),
        "color": Color.BLUE,
        "tags": ("a", "b"),
        "point": Point(1, 2),
        "blob": b"\xfb\xff\x00",
    }
    seen = paddock.result(paddock.submit("describe", given), PATIENCE)
    assert {name: seen[name] for name in given} == {
        "count": "int",
        "when": "datetime",
        "key": "UUID",
        "color": "Color",
        "tags": "list",
        "point": "Point",
        "blob": "bytes",
    }


def test_the_same_key_is_the_same_job(paddock: Client) -> None:
    key = str(uuid4())
    first = paddock.submit("echo", {"value": 1}, idempotency_key=key)
    assert paddock.submit("echo", {"value": 1}, idempotency_key=key).id == first.id
    assert paddock.submit("echo", {"value": 1}).id != first.id


# Refused


def test_each_refusal_is_an_error_of_its_own_kind(paddock: Client) -> None:
    with pytest.raises(TaskNotFound, match="heavy_cpu_task") as unknown:
        paddock.submit("heavy")
    assert unknown.value.status == 404
    assert unknown.value.type == "urn:paddock:problem:unknown-task"
    assert unknown.value.problem["task"] == "heavy"
    with pytest.raises(ParametersInvalid, match="greater than or equal to 0") as invalid:
        paddock.submit("heavy_cpu_task", {"n": -1})
    assert [row["field"] for row in invalid.value.errors] == ["n"]
    with pytest.raises(OptionsInvalid, match="timeout"):
        paddock.submit("echo", timeout=0)
    with pytest.raises(QueueNotFound):
        paddock.submit("echo", queue="none")
    with pytest.raises(BatchNotFound):
        paddock.batch_status(NO_ID)
    with pytest.raises(OptionsInvalid, match="status"):
        next(iter(paddock.jobs(status="unknown")))


@pytest.mark.parametrize("call", ["job", "wait", "result", "cancel", "retry", "delete"])
def test_every_call_about_an_unknown_job_says_so(paddock: Client, call: str) -> None:
    with pytest.raises(JobNotFound, match="none such"):
        getattr(paddock, call)("none such")
    with pytest.raises(JobNotFound):
        list(paddock.events("none such"))


def test_what_json_has_no_form_for_is_refused_before_it_is_sent(paddock: Client) -> None:
    with pytest.raises(TypeError, match=r"value\.here\[1\]: JSON has no form for a set"):
        paddock.submit("echo", {"value": {"here": [1, {2}]}})
    with pytest.raises(TypeError, match="n: no such option"):
        paddock.submit("heavy_cpu_task", n=1)  # type: ignore[call-arg]


def test_a_service_with_keys_is_shown_one(kind: str, start: Start) -> None:
    key = "a-key-of-sixteen-letters"
    address = serve(start, PADDOCK_API_KEYS=key)
    for wrong in (None, "another-key-of-letters"):
        stranger = client(kind, address, wrong)
        with pytest.raises(KeyMissing, match="Authorization: Bearer"):
            stranger.tasks()
        stranger.close()
    known = client(kind, address, key)
    assert "echo" in [task.name for task in known.tasks()]
    known.close()


def test_an_address_that_is_not_paddocks_is_told_of(kind: str, url: str) -> None:
    with pytest.raises(ValueError, match="http://"):
        client(kind, "localhost:8000")
    proxy = FaultyProxy(url)
    stranger = client(kind, proxy.url)
    try:
        proxy.faults = [Answer(200, body=b"<h1>It works!</h1>")]
        with pytest.raises(AnswerUnreadable, match="It works"):
            stranger.tasks()
        proxy.faults = [Answer(200, body=b'{"name": "another service"}')]
        with pytest.raises(AnswerUnreadable, match="no list of Task"):
            stranger.tasks()
        proxy.faults = [Answer(308, {"Location": "https://paddock.example/tasks"})]
        with pytest.raises(PaddockHTTPError, match=r"Give https://paddock\.example"):
            stranger.tasks()
        assert len(proxy.seen) == 3
    finally:
        stranger.close()
        proxy.close()


# Waiting


def test_a_job_that_failed_raises_what_is_known_of_it(paddock: Client) -> None:
    job = paddock.submit("fail_with", {"message": "no luck"})
    with pytest.raises(JobFailed, match="failed with ValueError: no luck") as failed:
        paddock.result(job, PATIENCE)
    assert (failed.value.type, failed.value.message) == ("ValueError", "no luck")
    assert "Traceback" in failed.value.traceback and "raise ValueError" in failed.value.traceback
    assert failed.value.job.id == job.id
    assert paddock.wait(job).status == "failed"


def test_a_job_that_was_canceled_has_no_result(paddock: Client) -> None:
    job = paddock.submit("echo", delay=LATER)
    assert paddock.cancel(job).status == "canceled"
    with pytest.raises(JobCanceled):
        paddock.result(job, PATIENCE)


def test_waiting_ends_in_time(paddock: Client) -> None:
    job = paddock.submit("echo", delay=LATER)
    for timeout in (0, 0.3):
        with pytest.raises(WaitTimeout, match="still scheduled") as late:
            paddock.wait(job, timeout=timeout)
        assert isinstance(late.value, TimeoutError)
    paddock.delete(job)


def test_events_tell_of_all_that_happens_to_a_job(paddock: Client, tmp_path: Path) -> None:
    job = paddock.submit("succeed_later", {"attempt": 2, "path": str(tmp_path / "made")}, delay=0.5)
    events = list(paddock.events(job))
    assert {event.kind for event in events} == {"status", "result"}
    seen = [(event.job.status, event.job.attempts) for event in events]
    assert seen == [
        ("scheduled", 0),
        *(("queued", 0), ("running", 1)),
        *(("scheduled", 1), ("queued", 1), ("running", 2)),  # for its retry, a second later
        *(("finished", 2), ("finished", 2)),
    ]
    assert events[-1].kind == "result" and events[-1].job == paddock.job(job)
    assert all(event.at is not None for event in events)
    assert [str(event.job.status) for event in paddock.events(job)][-2:] == ["finished"] * 2


def test_events_bear_what_a_job_reports_and_prints(paddock: Client) -> None:
    job = paddock.submit("report_and_print")
    events = list(paddock.events(job))
    (last, *_) = [event.job.progress for event in events if event.kind == "progress"][::-1]
    assert last is not None and (last.fraction, last.message) == (0.5, "half")
    texts = [line.text for event in events for line in event.lines]
    assert texts == ["one", "two"]


def test_a_job_that_is_deleted_while_it_is_followed_is_found_no_more(paddock: Client) -> None:
    job = paddock.submit("echo", delay=LATER)
    events = paddock.events(job)
    assert next(events).job.status == "scheduled"
    paddock.delete(job)
    with pytest.raises(JobNotFound, match="deleted meanwhile"):
        next(events)


# Acting and listing


def test_a_failed_job_is_run_again_and_its_executions_are_told(paddock: Client) -> None:
    job = paddock.submit("fail_as", {"kind": "permanent"}, queue="mail")
    assert paddock.wait(job, PATIENCE).status == "failed"
    paddock.pause_queue("mail")  # or it may have failed again by the time that it is told of
    assert not paddock.retry(job).has_ended
    paddock.resume_queue("mail")
    assert paddock.wait(job, PATIENCE).status == "failed"
    executions = paddock.executions(job)
    assert [(each.outcome, each.reason) for each in executions] == [
        ("raised", "PermanentFailure")
    ] * 2
    assert executions[0].ended_at <= executions[1].ended_at
    paddock.delete(job)
    with pytest.raises(JobNotFound):
        paddock.job(job)


def test_an_action_that_does_not_fit_the_status_is_a_conflict(paddock: Client) -> None:
    job = paddock.submit("echo", wait=PATIENCE)
    for act in (paddock.cancel, paddock.retry):
        with pytest.raises(StatusConflict) as conflict:
            act(job)
        assert conflict.value.job_status == "finished"


def test_jobs_are_listed_over_all_pages(paddock: Client) -> None:
    since = datetime.now(UTC)
    count = PAGE + 20
    batch = paddock.batch("echo", [{"value": n} for n in range(count)], queue="mail", delay=LATER)
    wanted = {"task": "echo", "queue": "mail", "status": "scheduled", "since": since}
    listed = list(paddock.jobs(**wanted))  # type: ignore[arg-type]
    assert [job.id for job in listed] == list(reversed(batch.jobs))
    assert {job.batch for job in listed} == {batch.id}
    assert len(list(zip(paddock.jobs(), range(5)))) == 5  # as many as are asked for
    assert paddock.cancel_batch(batch).canceled == count
    assert list(paddock.jobs(**wanted)) == []  # type: ignore[arg-type]


def test_many_are_canceled_or_run_again_at_once(paddock: Client) -> None:
    later = [paddock.submit("double", {"n": n}, delay=LATER) for n in range(2)]
    since = later[0].enqueued_at
    canceled = paddock.cancel_jobs(status="scheduled", task="double", since=since)
    assert (canceled.canceled, canceled.stopping) == (2, 0)
    assert {paddock.job(job).canceled_by for job in later} == {"the API"}
    failed = paddock.submit("fail_with", {"message": "no"}, queue="mail")
    paddock.wait(failed, PATIENCE)
    retried = paddock.retry_jobs(task="fail_with", queue="mail", since=failed.enqueued_at)
    assert (retried.retried, retried.skipped) == (1, 0)
    assert paddock.wait(failed, PATIENCE).attempts == 2
    with pytest.raises(OptionsInvalid, match="at least one"):
        paddock.cancel_jobs()


def test_a_queue_is_paused_and_resumed(paddock: Client) -> None:
    assert paddock.pause_queue("mail").paused
    job = paddock.submit("double", {"n": 2}, queue="mail")
    (queue,) = [each for each in paddock.queues() if each.paused]
    assert (queue.name, queue.queued) == ("mail", 1)
    assert not paddock.resume_queue(queue).paused
    assert paddock.result(job, PATIENCE) == 4
    with pytest.raises(QueueNotFound):
        paddock.pause_queue("none")


def test_tasks_queues_and_workers_are_shown(paddock: Client) -> None:
    tasks = {task.name: task for task in paddock.tasks()}
    assert tasks["fail_and_log"].retry is not None
    assert tasks["fail_and_log"].retry.intervals == (1, 2)
    assert tasks["heavy_cpu_task"].parameters["properties"]["n"]["minimum"] == 0
    queues = {queue.name: queue for queue in paddock.queues()}
    assert {"default", "cpu", "mail"} <= set(queues)
    (worker,) = paddock.workers()
    assert queues["cpu"].workers == 1 and "cpu" in worker.queues
    assert worker.started_at is not None and worker.started_at.tzinfo is not None


# Batches


def test_a_batch_is_submitted_awaited_and_read(paddock: Client) -> None:
    batch = paddock.batch("heavy_cpu_task", [{"n": n} for n in range(20)])
    assert (batch.task, batch.count, len(batch.jobs)) == ("heavy_cpu_task", 20, 20)
    status = paddock.wait_batch(batch, PATIENCE)
    assert (status.total, status.counts.finished, status.progress) == (20, 20, 1.0)
    rows = list(paddock.batch_results(batch))
    assert [row.index for row in rows] == list(range(20))
    assert tuple(row.id for row in rows) == batch.jobs
    assert [row.result for row in rows[:5]] == [0, 0, 1, 5, 14]
    assert paddock.batch_status(batch.id).has_ended


def test_a_batch_streams_from_anything_that_can_be_gone_through(paddock: Client) -> None:
    def sets() -> Iterator[dict[str, Any]]:
        for n in range(5_000):
            yield {"value": f"{n:0100}"}

    for given in (sets(), sets):
        batch = paddock.batch("echo", given, delay=LATER)
        assert batch.count == 5_000
        assert paddock.cancel_batch(batch).canceled == 5_000


def test_a_line_may_hold_what_others_take_for_its_end(paddock: Client) -> None:
    texts = ["a\u2028b", "c\x85d", "e\x0bf\x1cg", "h\ni\r"]
    batch = paddock.batch("echo", [{"value": text} for text in texts])
    paddock.wait_batch(batch, PATIENCE)
    assert [row.result for row in paddock.batch_results(batch)] == texts


def test_of_a_batch_with_a_wrong_set_nothing_is_accepted(paddock: Client) -> None:
    since = datetime.now(UTC)
    with pytest.raises(ParametersInvalid, match="Line 2: n") as invalid:
        paddock.batch("heavy_cpu_task", [{"n": 1}, {"n": "no"}])
    assert invalid.value.problem["line"] == 2
    with pytest.raises(TypeError, match="set 3: n: JSON has no form for a set"):
        paddock.batch("heavy_cpu_task", [{"n": 1}, {"n": 2}, {"n": {3}}])
    with pytest.raises(ParametersInvalid, match="empty"):
        paddock.batch("heavy_cpu_task", [])
    assert list(paddock.jobs(task="heavy_cpu_task", since=since)) == []


def test_what_failed_of_a_batch_is_run_again(paddock: Client) -> None:
    batch = paddock.batch("fail_as", [{"kind": "permanent"}, {"kind": "key"}])
    assert paddock.wait_batch(batch, PATIENCE).counts.failed == 2
    errors = [row.error for row in paddock.batch_results(batch)]
    types = [error.type for error in errors if error]
    assert types == ["jobs.policy.PermanentFailure", "KeyError"]
    assert paddock.retry_batch(batch) == 2
    assert paddock.wait_batch(batch, PATIENCE).counts.failed == 2


def test_a_batch_that_does_not_end_is_waited_for_in_vain(paddock: Client) -> None:
    batch = paddock.batch("echo", [{}], delay=LATER)
    with pytest.raises(WaitTimeout):
        paddock.wait_batch(batch, 0.2)
    paddock.cancel_batch(batch)


# In an event loop


async def _rows() -> Any:
    for n in range(10):
        yield {"n": n}


def test_a_batch_may_come_out_of_an_async_generator(url: str) -> None:
    async def results() -> list[Any]:
        async with AsyncClient(url) as paddock:
            batch = await paddock.batch("heavy_cpu_task", _rows())
            await paddock.wait_batch(batch, PATIENCE)
            return [row.result async for row in paddock.batch_results(batch)]

    assert asyncio.run(results()) == [sum(i * i for i in range(n)) for n in range(10)]
    with Client(url) as paddock, pytest.raises(TypeError, match="AsyncClient"):
        paddock.batch("heavy_cpu_task", _rows())


def test_many_wait_at_once(url: str) -> None:
    async def results() -> list[Any]:
        async with AsyncClient(url) as paddock:

            async def double(n: int) -> Any:
                return await paddock.result(await paddock.submit("double", {"n": n}), PATIENCE)

            return await asyncio.gather(*map(double, range(100)))

    assert asyncio.run(results()) == [2 * n for n in range(100)]


def test_threads_share_a_client(url: str) -> None:
    results: dict[int, Any] = {}
    with Client(url) as paddock:

        def double(n: int) -> None:
            results[n] = paddock.result(paddock.submit("double", {"n": n}), PATIENCE)

        threads = [threading.Thread(target=double, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == {n: 2 * n for n in range(20)}


# Alone

SCRIPT = """
import asyncio, sys
from service.client import AsyncClient, Client

async def submit():
    async with AsyncClient(sys.argv[1]) as paddock:
        return await paddock.result(await paddock.submit("double", {"n": 2}), 30)

with Client(sys.argv[1]) as paddock:
    print(paddock.result(paddock.submit("double", {"n": 1}), 30), asyncio.run(submit()))
print(*sorted({name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names))
"""


def test_the_client_works_where_nothing_but_httpx_is_installed(url: str, tmp_path: Path) -> None:
    installed = Path(httpx.__file__).parents[1]
    for name in ALONE:
        (tmp_path / name).symlink_to(installed / name)
    (tmp_path / "service").symlink_to(ROOT / "service")
    (tmp_path / "jobs").symlink_to(ROOT / "jobs")
    script = f"import sys; sys.path.append({str(tmp_path)!r})\n{SCRIPT}"
    # Neither the environment nor site-packages: what is not in the folder is not there.
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script, url], capture_output=True, text=True, timeout=90
    )
    assert ran.returncode == 0, ran.stderr
    results, loaded = ran.stdout.splitlines()
    assert results == "2 4"
    allowed = {name.removesuffix(".py") for name in ALONE} | {"service", "__main__"}
    assert set(loaded.split()) <= allowed, loaded
