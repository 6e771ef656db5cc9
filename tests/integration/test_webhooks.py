"""Each end of a job is told to its webhook: by one job, whatever dies, until it is taken."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue
from rq.executions import Execution
from rq.job import Job
from standardwebhooks import Webhook
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.api.app import create_app
from service.broker.status import Status
from service.execution.claim import Claimer
from service.execution.decision import Ended
from service.execution.outcome import Kind, Outcome, Usage
from service.execution.recovery import Recovery
from service.execution.settlement import Settler
from service.settings import Settings
from service.webhooks.delivery import WAITS
from service.webhooks.notice import LARGEST_RESULT
from tests.conftest import ROOT, TASKS, RedisServer, Start, eventually
from tests.integration.conftest import Jobs
from tests.integration.receiver import Answer, Receiver

SECRET = f"whsec_{b64encode(b'thirty-two bytes that none guess').decode()}"
NEVER = "http://127.0.0.1:9/"  # for deliveries that are not run

Receive = Callable[..., Receiver]


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings(
        redis_url=redis_url,
        data_dir=tmp_path,
        tasks=TASKS,
        workers=1,
        webhook_secret=SECRET,
        webhook_allow="127.0.0.1",
    )


@pytest.fixture
def receive() -> Iterator[Receive]:
    opened: list[Receiver] = []

    def open_one(*answers: Answer) -> Receiver:
        opened.append(Receiver(*answers))
        return opened[-1]

    yield open_one
    for receiver in opened:
        receiver.close()


def told(receiver: Receiver, number: int = 1) -> Any:
    """The event that came last, once there are so many, of a request that verifies."""
    eventually(lambda: len(receiver.received) >= number)
    assert len(receiver.received) == number
    request = receiver.received[-1]
    return Webhook(SECRET).verify(request.body, request.headers)


# What is told


def test_a_finished_job_is_told_with_its_result(
    api: TestClient, jobs: Jobs, start_worker: Start, receive: Receive
) -> None:
    receiver = receive(204)
    answer = api.post("/tasks/echo", params={"webhook": receiver.url}, json={"value": {"a": [1]}})
    assert answer.status_code == 202
    job_id = answer.json()["id"]
    start_worker()
    event = told(receiver)
    job = jobs[job_id]
    assert event["type"] == "job.finished" and event["timestamp"] == event["data"]["ended_at"]
    assert event["data"] == {
        "id": job_id,
        "task": "echo",
        "status": "finished",
        "queue": "default",
        "attempts": 1,
        "enqueued_at": _text(job.enqueued_at),
        "started_at": _text(job.started_at),
        "ended_at": _text(job.ended_at),
        "result": {"a": [1]},
        "error": None,
    }
    request = receiver.received[0]
    assert request.headers["webhook-id"] == f"{job_id}-webhook-1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("Paddock/")
    delivery = jobs.ended(f"{job_id}-webhook-1")
    assert (delivery.task, delivery.status, delivery.result) == ("deliver_webhook", "finished", 204)
    listed = api.get("/jobs", params={"task": "deliver_webhook"}).json()["jobs"]
    assert [row["id"] for row in listed] == [delivery.id]
    assert api.get(f"/jobs/{delivery.id}/executions").json()[0]["outcome"] == "returned"


def test_a_job_is_told_to_have_failed_once_it_is_not_retried_any_more(
    jobs: Jobs, start_worker: Start, receive: Receive, tmp_path: Path
) -> None:
    receiver = receive()
    job_id = jobs.submit("fail_and_log", path=str(tmp_path / "log"), webhook=receiver.url)
    start_worker()
    event = told(receiver)
    assert (event["type"], event["data"]["attempts"]) == ("job.failed", 3)
    assert event["data"]["error"] == {"type": "ValueError", "message": "it never works"}
    assert "Traceback" not in json.dumps(event)
    assert jobs.status(job_id) == Status.FAILED


def test_a_job_that_is_retried_is_told_again_when_it_ends_again(
    jobs: Jobs, start_worker: Start, receive: Receive
) -> None:
    receiver = receive()
    job_id = jobs.submit("fail_as", kind="permanent", webhook=receiver.url)
    start_worker()
    assert told(receiver)["type"] == "job.failed"
    jobs.broker.actions.retry(job_id)
    assert told(receiver, 2)["data"]["attempts"] == 2
    ids = [request.headers["webhook-id"] for request in receiver.received]
    assert ids == [f"{job_id}-webhook-1", f"{job_id}-webhook-2"]


def test_canceled_jobs_are_told_whether_they_ran_or_not(
    jobs: Jobs, start_worker: Start, receive: Receive
) -> None:
    receiver = receive()
    queued = jobs.submit("echo", webhook=receiver.url)
    later = jobs.submit_many("echo", [{"webhook": receiver.url}], delay=3600)[0]
    for job_id in (queued, later):
        assert jobs.broker.actions.cancel(job_id)
    running = jobs.submit("sleep", seconds=50, webhook=receiver.url)
    start_worker()
    jobs.await_status(running, "running")
    assert not jobs.broker.actions.cancel(running)
    eventually(lambda: len(receiver.received) == 3)
    for job_id, started in ((queued, False), (later, False), (running, True)):
        (request,) = receiver.of(job_id)
        event = request.event
        assert (event["type"], event["data"]["status"]) == ("job.canceled", "canceled")
        assert bool(event["data"]["started_at"]) == started
        assert (event["data"]["result"], event["data"]["error"]) == (None, None)


def test_a_job_that_kills_its_process_too_often_is_told_to_have_failed(
    jobs: Jobs, start_worker: Start, receive: Receive, tmp_path: Path
) -> None:
    receiver = receive()
    jobs.submit("kill_own_process", times=9, path=str(tmp_path / "runs"), webhook=receiver.url)
    start_worker()
    event = told(receiver)
    assert (event["type"], event["data"]["error"]["type"]) == ("job.failed", "WorkerLost")


def test_a_large_result_is_left_out_and_said_where_to_find(
    api: TestClient, jobs: Jobs, start_worker: Start, receive: Receive
) -> None:
    receiver = receive()
    just = "x" * (LARGEST_RESULT - 2)
    jobs.submit("echo", value=just, webhook=receiver.url)
    start_worker()
    assert told(receiver)["data"]["result"] == just
    job_id = jobs.submit("echo", value=just + "x", webhook=receiver.url)
    event = told(receiver, 2)
    omitted = event["data"].pop("result_omitted")
    assert event["data"]["result"] is None and omitted["bytes"] == LARGEST_RESULT + 1
    assert len(json.dumps(event)) < 1000
    assert api.get(omitted["href"]).json() == just + "x"
    assert omitted["href"] == f"/jobs/{job_id}/result"


@pytest.mark.parametrize("value", ['\u2028 \U0001f40e "\\/\x00\x7f', [1e308, -0.0, 2**70], None])
def test_whatever_the_result_it_arrives_as_it_is(
    jobs: Jobs, start_worker: Start, receive: Receive, value: Any
) -> None:
    receiver = receive()
    jobs.submit("echo", value=value, webhook=receiver.url)
    start_worker()
    assert told(receiver)["data"]["result"] == value


def test_a_task_may_name_a_webhook_for_all_its_jobs_and_a_submission_another(
    jobs: Jobs, connection: redis.Redis
) -> None:
    own = connection.hget(Job.key_for(jobs.submit("tell_where_declared")), "webhook")
    other = jobs.submit("tell_where_declared", webhook=NEVER)
    assert json.loads(own)["url"] == "https://hooks.example.com/declared"
    assert json.loads(connection.hget(Job.key_for(other), "webhook"))["url"] == NEVER


def test_a_job_without_a_webhook_tells_nobody(
    jobs: Jobs, connection: redis.Redis, start_worker: Start
) -> None:
    jobs.submit("echo")
    start_worker("--burst")
    eventually(lambda: not connection.exists("rq:queue:default"))
    eventually(lambda: connection.zcard("rq:finished:default") == 1)
    assert connection.keys("rq:job:*webhook*") == []


@pytest.mark.parametrize(
    ("body", "result"),
    [
        ("NaN", None),
        (
            '[Infinity, -Infinity, {"NaN": "a \\" NaN", "b\\\\": NaN}]',
            [None, None, {"NaN": 'a " NaN', "b\\": None}],
        ),
        ('"-Infinity"', "-Infinity"),
        ("[" * 900 + "]" * 900, json.loads("[" * 900 + "]" * 900)),
    ],
    ids=["NaN", "in a list", "in a string", "deep"],
)
def test_what_is_told_is_json_whatever_python_wrote(
    jobs: Jobs, connection: redis.Redis, body: str, result: Any
) -> None:
    ending = Ending(jobs, connection)
    ended = ending.ended(Kind.RETURNED, body=body.encode())
    assert ending.settler.settled(ended, ending.settler.call(ended).run())
    event = jobs[ending.deliveries[0]].parameters["event"]
    assert json.loads(event, parse_constant=pytest.fail)["data"]["result"] == result


# Until it is taken


def hurried(connection: redis.Redis, delivery: str) -> None:
    """Have the next attempt be due now rather than in hours."""
    eventually(lambda: connection.zscore("rq:scheduled:default", delivery) is not None)
    connection.zadd("rq:scheduled:default", {delivery: 1})


def test_it_is_tried_until_the_receiver_takes_it_with_the_same_id(
    jobs: Jobs, connection: redis.Redis, start_worker: Start, receive: Receive
) -> None:
    receiver = receive(500, 302, 429, 503, 404, 200)
    job_id = jobs.submit("echo", value=1, webhook=receiver.url)
    start_worker()
    delivery = f"{job_id}-webhook-1"
    for attempt in range(5):
        eventually(lambda attempt=attempt: len(receiver.received) == attempt + 1)
        hurried(connection, delivery)
    job = jobs.ended(delivery)
    assert (job.status, job.result, job.attempts) == (Status.FINISHED, 200, 6)
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 1
    assert len({request.body for request in receiver.received}) == 1
    for request in receiver.received:
        Webhook(SECRET).verify(request.body, request.headers)


def test_the_waits_grow_over_days_and_then_it_fails_for_all_to_see(
    jobs: Jobs, connection: redis.Redis, start_worker: Start, receive: Receive
) -> None:
    receiver = receive(500)
    job_id = jobs.submit("echo", webhook=receiver.url)
    start_worker()
    delivery, waits = f"{job_id}-webhook-1", []
    for _ in WAITS:
        eventually(lambda: connection.zscore("rq:scheduled:default", delivery) is not None)
        ended = jobs[delivery].ended_at.timestamp()
        waits.append(int(connection.zscore("rq:scheduled:default", delivery) - ended))
        hurried(connection, delivery)
        eventually(lambda: connection.zscore("rq:scheduled:default", delivery) != 1)
    job = jobs.ended(delivery)
    assert all(wait in (expected, expected + 1) for wait, expected in zip(waits, WAITS))
    assert (job.status, job.attempts) == (Status.FAILED, len(WAITS) + 1)
    assert job.error.type == "service.webhooks.delivery.Undelivered"
    assert job.error.message == "127.0.0.1 answered 500"


def test_a_receiver_that_is_gone_is_tried_once(
    jobs: Jobs, start_worker: Start, receive: Receive
) -> None:
    receiver = receive(410)
    job_id = jobs.submit("echo", webhook=receiver.url)
    start_worker()
    jobs.ended(job_id)
    delivery = jobs.ended(f"{job_id}-webhook-1")
    assert (delivery.status, delivery.attempts, len(receiver.received)) == ("failed", 1, 1)
    assert "410" in delivery.error.message


def test_an_address_that_is_refused_by_now_is_not_spoken_to(
    jobs: Jobs, start_worker: Start, receive: Receive
) -> None:
    receiver = receive()
    job_id = jobs.submit("echo", webhook=receiver.url)
    start_worker(PADDOCK_WEBHOOK_ALLOW="10.0.0.0/8")
    jobs.ended(job_id)
    delivery = jobs.ended(f"{job_id}-webhook-1")
    assert delivery.error.type == "service.webhooks.target.TargetRefused"
    assert (delivery.status, delivery.attempts, receiver.received) == ("failed", 1, [])


def test_deliveries_go_to_the_queue_of_their_own_while_a_worker_serves_it(
    jobs: Jobs, connection: redis.Redis, start: Start, start_worker: Start, receive: Receive
) -> None:
    receiver = receive()
    apart = start_worker("--queues", "webhooks")
    start_worker("--queues", "cpu")
    first = jobs.submit("echo", queue="cpu", webhook=receiver.url)
    told(receiver)
    assert jobs[f"{first}-webhook-1"].queue == "webhooks"
    apart.kill()
    eventually(lambda: not connection.keys("rq:worker:*") or _one_worker_left(connection))
    second = jobs.submit("echo", queue="cpu", webhook=receiver.url)
    told(receiver, 2)
    assert jobs[f"{second}-webhook-1"].queue == "cpu"


def _one_worker_left(connection: redis.Redis) -> bool:
    listed = connection.smembers("rq:workers:webhooks")
    return not any(connection.exists(worker) for worker in listed)


# One delivery for each end


class Ending:
    """An execution in this process's hands, to be ended by hand."""

    def __init__(
        self, jobs: Jobs, connection: redis.Redis, task: str = "echo", **given: Any
    ) -> None:
        self.job_id = jobs.submit(task, webhook=NEVER, **given)
        self.connection = connection
        self.queue = Queue("default", connection=connection, serializer="json")
        self.claim = Claimer(connection, "w", lease=10).claim([self.queue])
        self.settler = Settler(connection, "w", "host")

    def ended(self, kind: Kind, **given: Any) -> Ended:
        job = self.claim.job(self.connection)
        execution = Execution(self.claim.execution_id, self.job_id, self.connection, "w")
        execution._job = job
        return Ended(self.queue, job, execution, Outcome(kind, Usage(0, 0, 0), **given))

    @property
    def deliveries(self) -> list[str]:
        return [job_id for job_id in self.queue.job_ids if "-webhook-" in job_id]


ENDS = {
    "finished": (Kind.RETURNED, {"body": b"1"}),
    "failed": (Kind.RAISED, {"body": b"ValueError: no"}),
    "canceled": (Kind.CANCELED, {}),
}


@pytest.mark.parametrize("status", ENDS)
def test_an_end_that_is_sent_twice_is_told_once(
    jobs: Jobs, connection: redis.Redis, status: str
) -> None:
    ending = Ending(jobs, connection)
    kind, given = ENDS[status]
    ended = ending.ended(kind, **given)
    call = ending.settler.call(ended)
    assert ending.settler.settled(ended, call.run())
    assert not ending.settler.settled(ended, call.run())
    assert not ending.settler.settled(ended, ending.settler.call(ended).run())
    assert ending.deliveries == [f"{ending.job_id}-webhook-1"]
    assert jobs.status(ending.job_id) == status
    event = json.loads(jobs[ending.deliveries[0]].parameters["event"])
    assert event["type"] == f"job.{status}"


@pytest.mark.parametrize(
    ("kind", "given"),
    [(Kind.PUT_BACK, {}), (Kind.DIED, {}), (Kind.RAISED, {"body": b"x", "may_retry": True})],
    ids=["put back", "died", "to be retried"],
)
def test_what_is_no_end_is_not_told(
    jobs: Jobs, connection: redis.Redis, kind: Kind, given: dict[str, Any]
) -> None:
    ending = Ending(jobs, connection, "fail_as", kind="value")
    ended = ending.ended(kind, **given)
    assert ending.settler.settled(ended, ending.settler.call(ended).run())
    assert ending.deliveries == []


def test_an_execution_that_lost_its_job_does_not_tell_of_it(
    jobs: Jobs, connection: redis.Redis
) -> None:
    ending = Ending(jobs, connection)
    connection.delete("rq:worker:w")
    assert Recovery(connection).recover([ending.queue]) == ([ending.job_id], [])
    ended = ending.ended(Kind.RETURNED, body=b"1")
    assert not ending.settler.settled(ended, ending.settler.call(ended).run())
    assert ending.deliveries == []


def test_an_abandoned_job_that_was_to_be_canceled_is_told_so(
    jobs: Jobs, connection: redis.Redis
) -> None:
    ending = Ending(jobs, connection)
    connection.hset(Job.key_for(ending.job_id), "cancel_requested", 1)
    connection.delete("rq:worker:w")
    recovery = Recovery(connection)
    for _ in range(2):
        assert recovery.recover([ending.queue]) == ([], [])
    (delivery,) = ending.deliveries
    event = json.loads(jobs[delivery].parameters["event"])
    assert event["type"] == "job.canceled"


def test_a_job_deleted_while_it_ran_is_not_told(jobs: Jobs, connection: redis.Redis) -> None:
    ending = Ending(jobs, connection)
    connection.delete(Job.key_for(ending.job_id))
    ended = ending.ended(Kind.RETURNED, body=b"1")
    assert ending.settler.settled(ended, ending.settler.call(ended).run())
    assert ending.deliveries == []


POINTS = [
    (point, when)
    for point in ("Settler.call", "Settler.settled", "Stable.take_back", "Watch.until_ended")
    for when in ("before", "after")
] + [("Claimer.answered", "after"), ("Task.run", "before"), ("Task.run", "after")]


def test_wherever_its_worker_dies_each_end_is_told_and_by_one_job(
    jobs: Jobs,
    server: RedisServer,
    start: Start,
    start_worker: Start,
    receive: Receive,
    tmp_path: Path,
) -> None:
    """Twice each: the first death hits the job or its delivery, whichever comes there first."""
    receiver = receive()
    ids = {}
    for number, (point, when) in enumerate(POINTS):
        queue, marker = f"q{number}", tmp_path / f"{point}-{when}"
        ids[queue] = jobs.submit("echo", value=number, queue=queue, webhook=receiver.url)
        start(
            *[sys.executable, "-m", "tests.integration.killed_worker", queue, str(marker)],
            *[point, when, "SIGKILL", "self"],
        )
    for point, when in POINTS:
        eventually((tmp_path / f"{point}-{when}").exists, 60)
    start_worker("--queues", ",".join(ids))
    for job_id in ids.values():
        assert jobs.ended(job_id, 60).status == Status.FINISHED
        assert jobs.ended(f"{job_id}-webhook-1", 60).status == Status.FINISHED
        assert not server.client.exists(Job.key_for(f"{job_id}-webhook-2"))
        told_of = receiver.of(job_id)
        assert told_of and len({request.body for request in told_of}) == 1
        assert {request.headers["webhook-id"] for request in told_of} == {f"{job_id}-webhook-1"}


def test_a_delivery_whose_worker_is_killed_in_it_is_made_by_another(
    jobs: Jobs, start_worker: Start, receive: Receive
) -> None:
    started: list[int] = []

    def hold(handler: Any) -> None:
        started.append(1)
        with contextlib.suppress(OSError):
            handler.rfile.read(1)  # until the caller is gone

    receiver = receive(hold, 204)
    job_id = jobs.submit("echo", webhook=receiver.url)
    worker = start_worker()
    eventually(lambda: started)
    os.kill(worker.pid, signal.SIGKILL)
    start_worker()
    job = jobs.ended(f"{job_id}-webhook-1", 60)
    assert (job.status, job.result, job.attempts) == (Status.FINISHED, 204, 2)
    assert jobs.status(job_id) == Status.FINISHED


# At the door


def test_without_a_secret_there_are_no_webhooks(
    settings: Settings, catalogue: Catalogue, connection: redis.Redis
) -> None:
    app = create_app(settings.model_copy(update={"webhook_secret": ()}), catalogue)
    with TestClient(app, base_url="http://127.0.0.1") as client:
        answer = client.post("/tasks/echo?webhook=https://example.com/", json={})
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:paddock:problem:webhooks-off"
    assert "PADDOCK_WEBHOOK_SECRET" in answer.json()["detail"]
    assert not connection.exists("rq:queue:default")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://169.254.169.254/", "is link-local"),
        ("http://127.0.0.2/", "is loopback; PADDOCK_WEBHOOK_ALLOW can let it through"),
        ("http://localhost/", "inside a network"),
        ("http://u:p@example.com/", "user name or password"),
        ("ftp://example.com/", "must begin with https"),
        ("", "characters"),
    ],
)
def test_a_url_that_leads_inside_is_refused_at_the_door(
    api: TestClient, connection: redis.Redis, url: str, why: str
) -> None:
    answer = api.post("/tasks/echo", params={"webhook": url}, json={})
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (422, "urn:paddock:problem:invalid-options")
    assert why in problem["detail"] and problem["errors"][0]["field"] == "webhook"
    assert not connection.exists("rq:queue:default")


def test_nobody_can_have_paddock_sign_what_he_likes(
    api: TestClient, jobs: Jobs, start_worker: Start
) -> None:
    parameters = {"id": "x", "url": "https://example.com/", "event": "{}"}
    assert api.post("/tasks/deliver_webhook", json=parameters).status_code == 404
    assert api.get("/tasks/deliver_webhook").status_code == 404
    assert "deliver_webhook" not in api.get("/openapi.json").text


def test_the_secret_is_neither_in_redis_nor_in_the_log(
    settings: Settings, jobs: Jobs, connection: redis.Redis, receive: Receive
) -> None:
    receiver = receive(500)
    job_id = jobs.submit("echo", webhook=receiver.url)
    done = subprocess.run(
        [sys.executable, "worker.py", "--burst"],
        cwd=ROOT,
        env=os.environ | settings.environment(),
        capture_output=True,
        check=True,
    )
    assert jobs[f"{job_id}-webhook-1"].attempts == 1
    secret = SECRET.removeprefix("whsec_").encode()
    assert secret not in done.stdout + done.stderr
    for key in connection.scan_iter():
        with contextlib.suppress(redis.ResponseError):
            assert secret not in connection.dump(key)


# RQ's own tools


def test_a_stock_worker_delivers_as_well(
    settings: Settings, jobs: Jobs, connection: redis.Redis, receive: Receive
) -> None:
    receiver = receive(200)
    ending = Ending(jobs, connection)
    ended = ending.ended(Kind.RETURNED, body=b"1")
    connection.hset(
        Job.key_for(ending.job_id), "webhook", json.dumps({"url": receiver.url, "task": "echo"})
    )
    assert ending.settler.settled(ended, ending.settler.call(ended).run())
    subprocess.run(
        [str(Path(sys.executable).with_name("rq")), "worker", "-S", "json", "--burst", "default"]
        + ["-u", str(settings.redis_url.get_secret_value())],
        cwd=ROOT,
        env=os.environ | settings.environment(),
        check=True,
        capture_output=True,
    )
    assert told(receiver)["type"] == "job.finished"
    job = Job.fetch(f"{ending.job_id}-webhook-1", connection=connection, serializer="json")
    assert job.get_status() == "finished" and job.kwargs["url"] == receiver.url


def _text(moment: Any) -> str:
    return moment.isoformat().replace("+00:00", "Z")
