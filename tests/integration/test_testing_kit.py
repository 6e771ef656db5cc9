"""The fixture `paddock`: what a test is shown of its jobs, and how it has them run."""

import asyncio
import os
import threading
import traceback
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from redis.exceptions import ResponseError
from rq.suspension import resume, suspend
from starlette.testclient import TestClient

from jobs.send_email import send_email
from service.adapters.background import BackgroundTasks
from service.adapters.canvas import chain, group
from service.adapters.executor import JobExecutor
from service.adapters.jobs import BlockingJobs, Jobs
from service.api.app import create_app
from service.broker.connection import connect, connect_async, redis_url
from service.broker.eta import Eta, Forecaster
from service.broker.history import History
from service.broker.intake import Options
from service.broker.why import Explainer
from service.errors import JobNotFound
from service.settings import Settings
from service.testing.local_worker import StillJobs
from service.testing.paddock import Paddock
from service.testing.real_redis import real_redis
from tests import sample_kit_tasks
from tests.integration.receiver import Receiver
from tests.sample_kit_tasks import (
    do_as_replaced,
    fail_for_long,
    fail_in_kind,
    submit_from_a_loop,
    submit_itself,
    submit_others,
    tell_how_far,
    tell_others,
)
from tests.sample_tasks import echo, echo_async, succeed_at
from tests.sample_waiting_tasks import double, fail_with

# As programs have them: made as the module is imported, before any test
jobs, executor = BlockingJobs(), JobExecutor()

SECRET = f"whsec_{b64encode(b'thirty-two bytes that none guess').decode()}"


@pytest.fixture
def paddock_settings() -> dict[str, Any]:
    return {
        "tasks": ["jobs", "tests.sample_tasks", "tests.sample_kit_tasks"]
        + ["tests.sample_waiting_tasks"],
        "webhook_secret": SECRET,
        "webhook_allow": "127.0.0.1",
    }


def later(seconds: float) -> BlockingJobs:
    return jobs.with_options(Options(delay=seconds))


def tasks_of(records: list[Any]) -> list[str]:
    return [record.task for record in records]


def test_jobs_are_shown_oldest_first_and_run_when_a_test_says_so(paddock: Paddock) -> None:
    first, second = jobs.submit(echo, 1), jobs.submit(double, 2)
    assert [job.id for job in paddock.jobs] == [first.id, second.id]
    assert [job.status for job in paddock.jobs] == ["queued", "queued"]
    done = paddock.run_jobs()
    assert [(job.task, job.status, job.result) for job in done] == [
        ("echo", "finished", 1),
        ("double", "finished", 4),
    ]
    assert paddock.job(first.id) == done[0] == paddock.jobs[0]
    assert second.result(timeout=5) == 4
    assert paddock.run_jobs() == []


def test_each_test_begins_with_no_jobs(paddock: Paddock) -> None:
    assert paddock.jobs == [] and paddock.run_jobs() == []


def test_jobs_of_one_moment_are_shown_in_the_order_in_which_they_came(
    paddock: Paddock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rq.job.now", lambda: datetime(2026, 1, 1, tzinfo=UTC))
    submitted = [jobs.submit(echo, number).id for number in range(20)]
    assert [job.id for job in paddock.jobs] == submitted


def test_a_jobs_place_is_told_here_too(paddock: Paddock) -> None:
    first, second = jobs.submit(echo, 1), jobs.submit(echo, 2)
    with connect(redis_url(paddock.settings)) as connection:
        forecaster, explainer = Forecaster(connection), Explainer(connection)
        assert forecaster.eta(paddock.job(second.id)) == Eta(2, None, None)
        told = explainer.why(paddock.job(second.id)).reasons
    assert [reason.kind for reason in told] == ["no_worker", "position"]
    assert told[1].data["before"] == [first.id]


def test_how_far_a_job_came_is_told_and_what_it_prints_is_the_tests(
    paddock: Paddock, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = jobs.submit(tell_how_far, 4).id
    assert paddock.job(job_id).progress is None
    paddock.run_jobs()
    progress = paddock.job(job_id).progress
    assert progress is not None and (progress.fraction, progress.message) == (0.5, "rows")
    assert capsys.readouterr().out == "0\n1\n2\n"


def test_what_becomes_of_jobs_is_counted_here_too(paddock: Paddock) -> None:
    jobs.submit(echo, 1)
    jobs.submit(fail_with, "no")
    paddock.run_jobs()
    with connect(redis_url(paddock.settings)) as connection:
        totals = History(connection).totals()
    counted = [(total.task, total.finished, total.failed, sum(total.waits)) for total in totals]
    assert counted == [("echo", 1, 0, 1), ("fail_with", 0, 1, 1)]


def test_a_job_that_there_is_not_is_told_so(paddock: Paddock) -> None:
    with pytest.raises(JobNotFound):
        paddock.job("00000000-0000-7000-8000-000000000000")


def test_what_jobs_submit_is_run_as_well(paddock: Paddock, tmp_path: Path) -> None:
    jobs.submit(submit_others, str(tmp_path / "depths"), 2)
    jobs.submit(submit_from_a_loop, str(tmp_path / "loop"))
    assert len(paddock.run_jobs()) == 1 + 2 + 4 + 2
    assert (tmp_path / "depths").read_text().split() == list("2110000")


def test_retries_are_run_without_their_waits_when_nothing_else_is_left(
    paddock: Paddock, tmp_path: Path
) -> None:
    failing = jobs.submit(fail_in_kind, "retried")
    jobs.submit(echo, 1)
    assert tasks_of(paddock.run_jobs()) == ["echo", "fail_in_kind"]
    record = paddock.job(failing.id)
    assert (record.status, record.attempts, record.retries_left) == ("failed", 3, 0)
    assert record.error is not None
    assert record.error.type == "ConnectionResetError"
    assert record.error.message == "as told: retried"


def test_retries_can_be_left_to_their_time(paddock: Paddock) -> None:
    failing = jobs.submit(fail_for_long)
    assert paddock.run_jobs(retries=False) == []
    assert paddock.job(failing.id).status == "scheduled"
    assert paddock.job(failing.id).scheduled_for is not None
    assert paddock.run_jobs(retries=False) == []
    assert paddock.job(failing.id).attempts == 1
    paddock.advance(600)
    (ended,) = paddock.run_jobs(retries=False)
    assert (ended.status, ended.attempts) == ("failed", 3)  # the last one waits for nothing


def test_a_job_that_fails_fails_no_test_unless_that_is_asked_for(paddock: Paddock) -> None:
    jobs.submit(fail_with, "as told")
    assert [job.status for job in paddock.run_jobs()] == ["failed"]
    failing, after = jobs.submit(fail_with, "as told"), jobs.submit(echo, 1)
    with pytest.raises(ValueError, match="as told") as raised:
        paddock.run_jobs(raising=True)
    names = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert names[-1] == "fail_with"
    assert paddock.job(failing.id).status == "failed"
    assert paddock.job(after.id).status == "queued"
    assert tasks_of(paddock.run_jobs(raising=True)) == ["echo"]


def test_what_is_retried_is_raised_once_it_has_failed_for_good(
    paddock: Paddock, tmp_path: Path
) -> None:
    jobs.submit(succeed_at, 3, str(tmp_path / "at"))
    (done,) = paddock.run_jobs(raising=True)
    assert (done.status, done.attempts) == ("finished", 3)
    failing = jobs.submit(fail_in_kind, "retried")
    with pytest.raises(ConnectionResetError):
        paddock.run_jobs(raising=True)
    assert paddock.job(failing.id).attempts == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, pytest.fail.Exception])
def test_what_is_raised_at_the_test_itself_comes_through(
    error: type[BaseException], paddock: Paddock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise error

    monkeypatch.setattr(sample_kit_tasks, "reach_out", interrupted)
    job = jobs.submit(do_as_replaced)
    with pytest.raises(error):
        paddock.run_jobs()
    assert job.status() == "failed"


def test_a_delayed_job_is_not_run_before_its_time_has_come(paddock: Paddock) -> None:
    later(3600).submit(echo, 2)
    later(60).submit(echo, 1)
    assert paddock.run_jobs() == []
    paddock.advance(30)
    assert paddock.run_jobs() == []
    paddock.advance(30)
    assert [job.result for job in paddock.run_jobs()] == [1]
    later(60).submit(echo, 3)  # which no time has passed for
    assert paddock.run_jobs() == []
    paddock.advance(7200)
    assert [job.result for job in paddock.run_jobs()] == [3, 2]


def test_time_passes_in_small_steps_too(paddock: Paddock) -> None:
    later(60).submit(echo, 1)
    for _ in range(60):
        paddock.advance(0.5)
    assert paddock.run_jobs() == []
    for _ in range(60):
        paddock.advance(0.5)
    assert len(paddock.run_jobs()) == 1


def test_time_does_not_go_back(paddock: Paddock) -> None:
    with pytest.raises(ValueError, match="does not go back"):
        paddock.advance(-1)


def test_a_clock_that_is_set_brings_jobs_on_as_well(
    paddock: Paddock, monkeypatch: pytest.MonkeyPatch
) -> None:
    later(3600).submit(echo, 1)
    monkeypatch.setattr("service.execution.scheduler.current_timestamp", lambda: 2**33)
    assert len(paddock.run_jobs()) == 1


def test_jobs_expire_as_time_passes(paddock: Paddock) -> None:
    soon = Options(expires=datetime.now(UTC) + timedelta(seconds=60))
    late, in_time = jobs.with_options(soon).submit(echo, 1), jobs.submit(echo, 2)
    paddock.advance(61)
    assert [job.id for job in paddock.run_jobs()] == [late.id, in_time.id]
    record = paddock.job(late.id)
    assert record.status == "canceled" and record.error is not None
    assert record.error.type == "Expired"


def test_jobs_that_submit_each_other_for_ever_are_stopped(paddock: Paddock) -> None:
    jobs.submit(submit_itself)
    with pytest.raises(StillJobs, match="More than 20 jobs"):
        paddock.run_jobs(most=20)
    assert len(paddock.jobs) == 22


def test_so_many_as_are_allowed_are_run(paddock: Paddock) -> None:
    for number in range(3):
        jobs.submit(echo, number)
    assert len(paddock.run_jobs(most=3)) == 3


def test_jobs_are_run_from_within_an_event_loop(paddock: Paddock, tmp_path: Path) -> None:
    async def as_an_async_test_does() -> list[Any]:
        asynchronous = Jobs()
        job = await asynchronous.submit(echo_async, 3)
        await asynchronous.submit(submit_from_a_loop, str(tmp_path / "loop"))
        results = [each.result for each in paddock.run_jobs()]
        assert await job.result(timeout=5) == 3
        await asynchronous.submit(fail_with, "in the loop")
        with pytest.raises(ValueError, match="in the loop"):
            paddock.run_jobs(raising=True)
        return results

    assert asyncio.run(as_an_async_test_does()) == [3, None, None]


def test_jobs_run_in_the_tests_own_thread(
    paddock: Paddock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[threading.Thread] = []
    monkeypatch.setattr(
        sample_kit_tasks, "reach_out", lambda: seen.append(threading.current_thread())
    )
    jobs.submit(do_as_replaced)
    paddock.run_jobs()
    assert seen == [threading.current_thread()]


def test_code_that_waits_for_its_jobs_is_given_a_worker(paddock: Paddock) -> None:
    with paddock.worker():
        assert jobs.submit(double, 4).result(timeout=30) == 8
        with pytest.raises(ConnectionResetError):
            jobs.submit(fail_in_kind, "retried").result(timeout=30)
        last = jobs.submit(echo, "last")
    assert last.status() == "finished"
    jobs.submit(echo, 1)
    assert len(paddock.run_jobs()) == 1  # it has left


def test_what_is_raised_at_the_test_comes_through_a_worker_too(
    paddock: Paddock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_kit_tasks, "reach_out", lambda: pytest.fail("it was run"))
    with pytest.raises(pytest.fail.Exception, match="it was run"), paddock.worker():
        failing = jobs.submit(do_as_replaced)
        with pytest.raises(Exception, match="it was run"):
            failing.result(timeout=30)


def test_a_job_that_cancels_itself_is_canceled_where_it_raises(
    paddock: Paddock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancel_and_raise() -> None:
        jobs.job(paddock.jobs[0].id).cancel()
        raise ValueError

    monkeypatch.setattr(sample_kit_tasks, "reach_out", cancel_and_raise)
    jobs.submit(do_as_replaced)
    (ended,) = paddock.run_jobs(raising=True)
    assert ended.status == "canceled"


def test_suspended_workers_run_nothing(paddock: Paddock) -> None:
    connection = connect(redis_url(paddock.settings))
    jobs.submit(echo, 1)
    suspend(connection)
    assert paddock.run_jobs() == []
    resume(connection)
    assert len(paddock.run_jobs()) == 1
    connection.close()


def test_webhooks_are_seen_and_not_sent(paddock: Paddock) -> None:
    jobs.submit(tell_others, 7)
    assert tasks_of(paddock.run_jobs()) == ["tell_others"]
    delivery = paddock.jobs[-1]
    assert (delivery.task, delivery.status) == ("deliver_webhook", "queued")
    assert delivery.parameters is not None
    assert delivery.parameters["url"] == "https://hooks.example.com/declared"
    assert '"type":"job.finished"' in delivery.parameters["event"]


def test_webhooks_are_sent_where_a_test_wants_it(paddock: Paddock) -> None:
    receiver = Receiver(500, 204)
    job = jobs.with_options(Options(webhook=receiver.url)).submit(echo, 7)
    told, delivery = paddock.run_jobs(webhooks=True)
    receiver.close()
    assert told.id == job.id
    assert (delivery.task, delivery.status, delivery.attempts) == ("deliver_webhook", "finished", 2)
    assert receiver.received[1].event["data"]["result"] == 7


def test_the_programs_own_settings_are_those_of_the_test(paddock: Paddock, tmp_path: Path) -> None:
    assert Settings.load() == paddock.settings
    assert paddock.settings.data_dir.is_relative_to(tmp_path)
    assert os.environ["PADDOCK_REDIS_URL"] == redis_url(paddock.settings)


class TestAnEnvironmentWithAMailServer:
    @pytest.fixture
    def paddock_settings(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        monkeypatch.setenv("PADDOCK_SMTP_URL", "smtp://mail.example.com")
        return {}

    def test_has_no_mails_sent_by_tests(self, paddock: Paddock) -> None:
        jobs.submit(send_email, "ada@example.com", "Hello", "There")
        paddock.run_jobs(raising=True)
        (mail,) = (paddock.settings.data_dir / "outbox").glob("*.eml")
        assert "Hello" in mail.read_text()


def test_the_api_takes_jobs_for_a_test(paddock: Paddock) -> None:
    with TestClient(create_app(paddock.settings)) as client:
        submitted = client.post("/tasks/double", json={"n": 21})
        assert submitted.status_code == 202, submitted.text
        paddock.run_jobs()
        assert client.get(submitted.headers["Location"]).json()["result"] == 42
        ready = client.get("/health/ready")
        assert ready.status_code == 200, ready.text
        queues = {queue["name"]: queue for queue in client.get("/queues").json()}
        assert queues["default"]["finished"] == 1
        assert client.get("/dashboard/").status_code == 200


def test_background_tasks_are_jobs_of_the_test(paddock: Paddock) -> None:
    app = FastAPI()

    @app.post("/signup")
    def signup(background: BackgroundTasks) -> str:
        return background.add_task(echo, "signed up").id

    with TestClient(app) as client:
        job_id = client.post("/signup").json()
    assert [job.id for job in paddock.jobs] == [job_id]
    assert [job.result for job in paddock.run_jobs()] == ["signed up"]


def test_calls_in_celerys_words_are_jobs_of_the_test(paddock: Paddock) -> None:
    result = double.delay(4)
    chained = chain(double.s(1), double.s()).delay()
    both = group(double.s(2), double.s(3))()
    double.apply_async((5,), countdown=60)
    assert len(paddock.run_jobs()) == 5
    assert (result.get(timeout=5), chained.get(timeout=5), both.get(timeout=5)) == (8, 4, [4, 6])
    paddock.advance(60)
    assert [job.result for job in paddock.run_jobs()] == [10]


def test_futures_are_jobs_of_the_test(paddock: Paddock) -> None:
    future, failing = executor.submit(double, 4), executor.submit(fail_with, "as told")
    assert not future.done()
    assert [job.id for job in paddock.run_jobs()] == [future.job_id, failing.job_id]
    assert future.result(timeout=10) == 8
    with pytest.raises(ValueError, match="as told"):
        failing.result(timeout=10)
    executor.submit(double, 5)  # which nobody runs
    with paddock.worker(), JobExecutor() as another:
        assert list(another.map(double, [1, 2, 3])) == [2, 4, 6]


def test_futures_that_a_test_has_left_do_no_harm_to_the_next(paddock: Paddock) -> None:
    assert paddock.jobs == []
    future = executor.submit(double, 6)
    paddock.run_jobs()
    assert future.result(timeout=10) == 12
    executor.submit(double, 7)


def test_a_task_sees_what_a_test_has_replaced(
    paddock: Paddock, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(sample_kit_tasks, "reach_out", lambda: calls.append("reached"))
    jobs.submit(do_as_replaced)
    paddock.run_jobs(raising=True)
    assert calls == ["reached"]


class TestARealRedis:
    @pytest.fixture(scope="class")
    @classmethod
    def paddock_redis_url(cls) -> Iterator[str]:
        with real_redis() as url:
            yield url

    def test_may_be_used_instead(self, paddock: Paddock, tmp_path: Path) -> None:
        jobs.submit(submit_others, str(tmp_path / "depths"), 1)
        later(60).submit(fail_in_kind, "retried")
        assert len(paddock.run_jobs()) == 3
        paddock.advance(60)
        assert [job.attempts for job in paddock.run_jobs()] == [3]

    def test_is_emptied_for_each_test(self, paddock: Paddock) -> None:
        assert paddock.jobs == []


def test_the_fake_redis_says_what_it_can_not(paddock_redis_url: str) -> None:
    client = connect(paddock_redis_url)
    with pytest.raises(ResponseError, match="this Redis is a fake"):
        client.execute_command("SUBSCRIBE", "channel")
    with pytest.raises(ResponseError, match="unknown command"):
        client.execute_command("NO", "SUCH")
    with pytest.raises(ResponseError, match="wrong kind of value"):
        client.set("text", "x")
        client.lpush("text", "y")
    assert client.ping()  # the same connection
    client.close()


def test_the_fake_redis_serves_many_at_once(paddock_redis_url: str, patient: None) -> None:
    script = "return {redis.call('INCR', KEYS[1]), ARGV[1], {false}}"

    async def in_a_loop() -> list[Any]:
        client = connect_async(paddock_redis_url)
        call = client.register_script(script)
        answers = await asyncio.gather(*(call(keys=["n"], args=[n]) for n in range(100)))
        await client.aclose()
        return answers

    client = connect(paddock_redis_url)
    client.delete("n")
    client.script_flush()
    answers: list[list[Any]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(asyncio.run(in_a_loop()))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = [answer for each in answers for answer in each]
    assert sorted(answer[0] for answer in told) == list(range(1, 401))
    assert all(answer[2] == [None] for answer in told)
    with client.pipeline() as pipe:
        pipe.set("big", b"x" * 2**20).get("big").get("none").lrange("none", 0, -1)
        assert pipe.execute() == [True, b"x" * 2**20, None, []]
    client.close()
