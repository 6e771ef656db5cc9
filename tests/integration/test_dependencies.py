"""Jobs that wait for others: none starts too early, none waits for ever, none runs twice."""

import asyncio
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue
from rq.job import Dependency, Job
from starlette.testclient import TestClient

from jobs.catalogue import Catalogue
from service.api.app import create_app
from service.broker.chaining import MOST_DEPENDENCIES
from service.broker.connection import connect, connect_async
from service.broker.enqueuer import Enqueuer, new_job_id
from service.broker.listing import JobFilter
from service.broker.status import Status
from service.errors import DependencyUnknown, StatusConflict
from service.execution import claim
from service.execution.dependents import Dependents
from service.execution.outcome import Kind
from service.settings import Settings
from service.submission import ENQUEUE, enqueue_arguments, job_of
from service.waiting import LEFT, MOST_AT_ONCE
from tests.conftest import ROOT, Start, eventually
from tests.integration.by_hand import ByHand
from tests.integration.conftest import ALL_TASKS, Jobs
from tests.integration.test_worker import lines

SEED = 20261124
RQ = str(Path(sys.executable).parent / "rq")


@pytest.fixture
def hand(connection: redis.Redis) -> ByHand:
    return ByHand(connection, "default", "cpu")


def stock_worker(url: str, *queues: str) -> None:
    """A stock worker, until the queues are empty."""
    done = subprocess.run(
        [RQ, "worker", "-b", "-S", "json", "-u", url, *(queues or ("default",))],
        cwd=ROOT,
        env=os.environ | {"PADDOCK_TASKS": ",".join(ALL_TASKS)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def nothing_left(connection: redis.Redis) -> bool:
    """No set of dependencies, nor a waiting job."""
    keys = [*connection.scan_iter("rq:job::*:dependencies"), *connection.scan_iter("rq:deferred:*")]
    left = [key for key in keys if connection.ttl(key) == -1]
    assert not left
    return True


# With workers


def test_a_chain_runs_in_order(
    jobs: Jobs, start_all_tasks: Start, connection: redis.Redis, tmp_path: Path
) -> None:
    path = str(tmp_path / "lines")
    last: list[str] = []
    for number in range(10):
        queue = ("default", "cpu", "mail")[number % 3]
        last = [
            jobs.submit("append_line", path=path, line=str(number), queue=queue, depends_on=last)
        ]
    assert (jobs.status(last[0]), jobs[last[0]].waiting_for) == (Status.WAITING, "dependencies")
    start_all_tasks()
    start_all_tasks()
    job = jobs.ended(last[0])
    assert (job.status, job.waiting_for, len(job.depends_on)) == (Status.FINISHED, None, 1)
    assert lines(tmp_path / "lines") == [str(number) for number in range(10)]
    assert nothing_left(connection)


def test_a_job_after_fifty_others_runs_once_they_all_have(
    jobs: Jobs, start_all_tasks: Start, connection: redis.Redis, tmp_path: Path
) -> None:
    path = str(tmp_path / "lines")
    many = jobs.submit_many("append_line", [{"path": path, "line": "first"} for _ in range(50)])
    after = jobs.submit("append_line", path=path, line="after", depends_on=many)
    for _ in range(3):
        start_all_tasks()
    assert jobs.ended(after).status == Status.FINISHED
    assert lines(tmp_path / "lines") == ["first"] * 50 + ["after"]
    assert nothing_left(connection)


def test_what_depends_on_a_failure_fails_and_what_minds_it_not_runs(
    jobs: Jobs, start_all_tasks: Start, connection: redis.Redis, tmp_path: Path
) -> None:
    root = jobs.submit("fail_with", message="at the root")
    children = [jobs.submit("echo", depends_on=[root]) for _ in range(5)]
    grandchildren = [jobs.submit("echo", depends_on=[child]) for child in children]
    leaf = jobs.submit("echo", depends_on=grandchildren)
    cleanup = jobs.submit("echo", value=1, depends_on=[leaf], on_dependency_failure="run")
    after = jobs.submit("echo", value=2, depends_on=[cleanup])
    start_all_tasks()
    assert jobs.ended(after).result == 2
    assert jobs[cleanup].result == 1
    for job_id, cause in [
        *((child, root) for child in children),
        *zip(grandchildren, children, strict=True),
    ]:
        job = jobs[job_id]
        assert (job.status, job.attempts, job.retries_left) == (Status.FAILED, 0, 0)
        assert job.error.type == "DependencyFailed"
        assert job.error.message == f"the job {cause}, which this one depends on, failed"
    assert jobs[leaf].error.type == "DependencyFailed"
    # RQ reads the same
    rqs = Job.fetch(children[0], connection=connection, serializer="json")
    assert rqs.get_status() == "failed"
    assert rqs.latest_result().exc_string.startswith(f"DependencyFailed: the job {root}")
    assert connection.zcard("rq:failed:default") == 12
    assert connection.ttl(rqs.key) > 0
    assert nothing_left(connection)


def test_a_dependency_that_is_retried_has_not_failed_yet(
    jobs: Jobs, start_all_tasks: Start, tmp_path: Path
) -> None:
    root = jobs.submit("succeed_later", attempt=3, path=str(tmp_path / "runs"))
    after = jobs.submit("double", depends_on=[root], result_as="n")
    start_all_tasks()
    assert (jobs.ended(after).result, jobs[root].attempts) == (6, 3)


def test_a_result_is_handed_on(jobs: Jobs, start_all_tasks: Start) -> None:
    first = jobs.submit("double", n=21)
    second = jobs.submit("double", depends_on=[first], result_as="n")
    third = jobs.submit("double", depends_on=[second], result_as="n", queue="cpu")
    nothing = jobs.submit("echo")
    handed_nothing = jobs.submit("echo", depends_on=[nothing], result_as="value")
    wrong = jobs.submit("double", depends_on=[nothing], result_as="n")
    start_all_tasks()
    assert jobs.ended(third).result == 168
    assert jobs.ended(handed_nothing).status == Status.FINISHED
    error = jobs.ended(wrong).error
    assert error.type.endswith("ParametersRefused")
    assert "Input should be a valid integer" in error.message
    assert jobs[wrong].attempts == 1


def test_the_results_of_all_are_handed_on_in_the_order_of_depends_on(
    jobs: Jobs, start_all_tasks: Start
) -> None:
    many = jobs.submit_many("echo", [{"value": number} for number in range(20)])
    many.append(jobs.submit("echo", queue="cpu"))  # whose result is null
    shuffled = random.Random(SEED).sample(many, len(many))
    together = jobs.submit("echo", depends_on=shuffled, results_as="value")
    again = jobs.submit("echo", depends_on=[many[1], many[0], many[1]], results_as="value")
    one = jobs.submit("total", depends_on=[many[9]], results_as="numbers", plus=1)
    wrong = jobs.submit("total", depends_on=[many[9], many[20]], results_as="numbers")
    for _ in range(2):
        start_all_tasks()
    numbers: list[int | None] = [*range(20), None]
    assert jobs.ended(together).result == [numbers[many.index(job_id)] for job_id in shuffled]
    assert jobs.ended(again).result == [1, 0]  # each once, as depends_on names them first
    assert jobs[again].depends_on == [many[1], many[0]]
    assert jobs.ended(one).result == 10
    assert jobs.ended(wrong).error.type.endswith("ParametersRefused")
    assert "numbers.1\n  Input should be a valid integer" in jobs[wrong].error.message


def test_a_thousand_results_are_handed_on(
    jobs: Jobs, hand: ByHand, start_all_tasks: Start, connection: redis.Redis
) -> None:
    numbers = range(MOST_DEPENDENCIES)
    many = jobs.submit_many("echo", [{"value": number} for number in numbers])
    after = jobs.submit("total", depends_on=many, results_as="numbers", queue="cpu")
    for number in numbers:
        hand.run_one(str(number).encode())
    start_all_tasks()
    assert jobs.ended(after).result == sum(numbers)
    assert nothing_left(connection)


def test_one_of_several_results_that_is_gone_fails_the_job(
    jobs: Jobs, connection: redis.Redis, hand: ByHand, start_all_tasks: Start
) -> None:
    many = jobs.submit_many("echo", [{"value": number} for number in range(3)])
    after = jobs.submit("echo", depends_on=many, results_as="value")
    assert [hand.run_one() for _ in many] == many
    jobs.broker.actions.delete(many[1])
    start_all_tasks()
    job = jobs.ended(after)
    assert (job.status, job.error.type, job.attempts) == (Status.FAILED, "ResultGone", 0)
    assert many[1] in job.error.message


def test_results_that_are_too_large_together_fail_the_job_and_spare_its_worker(
    jobs: Jobs, hand: ByHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "LARGEST_GIVEN", 16)  # bytes in base64: 12 of JSON
    fits, larger = (
        jobs.submit_many("echo", [{"value": text}, {"value": text}]) for text in ("aaaa", "aaaaa")
    )
    runs = jobs.submit("echo", depends_on=fits, results_as="value")
    fails = jobs.submit("echo", depends_on=larger, results_as="value")
    for text in ("aaaa", "aaaa", "aaaaa", "aaaaa"):
        hand.run_one(f'"{text}"'.encode())
    assert hand.claim().job_id == runs
    assert hand.claim() is None
    assert (jobs[fails].error.type, jobs[fails].attempts) == ("ResultsTooLarge", 0)


def test_a_claim_whose_answer_was_lost_brings_the_same_results_again(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    many = jobs.submit_many("echo", [{"value": number} for number in range(3)])
    after = jobs.submit("echo", depends_on=many, results_as="value")
    for number in range(3):
        hand.run_one(str(number).encode())
    claimer = hand.claimer
    claimer.call(hand.queues).run()  # and nobody hears the answer
    again = claimer.claim(hand.queues)
    assert (again.job_id, again.job(connection).kwargs) == (after, {"value": [0, 1, 2]})


def test_a_claim_is_told_again_without_a_result_that_is_gone_and_its_job_is_not_run_without_it(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    first = jobs.submit("double", n=1)
    jobs.submit("double_again", depends_on=[first], result_as="n")
    assert hand.run_one() == first
    hand.claimer.call(hand.queues).run()
    jobs.broker.actions.delete(first)
    job = hand.claimer.claim(hand.queues).job(connection)
    assert job.data == b"" and "has expired or was deleted" in job.description


def test_a_result_that_is_gone_fails_the_job_rather_than_leave_the_parameter_out(
    jobs: Jobs, connection: redis.Redis, start_all_tasks: Start
) -> None:
    first = jobs.submit("double", n=1)
    hand = ByHand(connection, "default")
    after = jobs.submit("double_again", depends_on=[first], result_as="n")
    last = jobs.submit("echo", depends_on=[after])
    assert hand.run_one() == first
    jobs.broker.actions.delete(first)
    start_all_tasks()
    job = jobs.ended(after)
    assert (job.status, job.error.type, job.attempts) == (Status.FAILED, "ResultGone", 0)
    assert jobs.ended(last).error.type == "DependencyFailed"


def test_dependents_run_once_wherever_the_worker_dies_while_it_settles(
    jobs: Jobs, start: Start, start_all_tasks: Start, tmp_path: Path
) -> None:
    ends = []
    for point in ("Settler.call-before", "Settler.settled-before", "Settler.settled-after"):
        method, when = point.split("-")
        queue, path = f"q-{method.lower()}-{when}", tmp_path / point
        root = jobs.submit("append_line", path=str(path), line="root", queue=queue)
        ends += [
            (
                jobs.submit(
                    "append_line", path=str(path), line="after", queue=queue, depends_on=[root]
                ),
                path,
            )
            for _ in range(3)
        ]
        start(
            sys.executable,
            *["-m", "tests.integration.killed_worker", queue, str(tmp_path / queue)],
            *[method, when, "SIGKILL", "self"],
            PADDOCK_TASKS=",".join(ALL_TASKS),
        )
        eventually((tmp_path / queue).exists)
    start_all_tasks("--queues", ",".join(sorted({jobs[end].queue for end, _ in ends})))
    for end, _ in ends:
        assert jobs.ended(end, 60).status == Status.FINISHED
    for _, path in ends:
        assert Counter(lines(path))["after"] == 3


# At the same instant


def test_a_dependency_that_ends_while_its_dependent_is_submitted_leaves_none_behind(
    jobs: Jobs, hand: ByHand, redis_url: str
) -> None:
    """300 times, without any housekeeping that would come to the rescue."""
    stop = threading.Event()
    fails = threading.Event()

    def work() -> None:
        with connect(redis_url) as own:
            worker = ByHand(own, "default")
            while not stop.is_set():
                if fails.is_set():
                    worker.fail_one()
                else:
                    worker.run_one()

    async def submit_all() -> list[str]:
        client = connect_async(redis_url)
        try:
            enqueuer = Enqueuer(client)
            dependents = []
            for _ in range(300):
                root = jobs._submission("echo", {}, None)
                first = await enqueuer.submit(root)
                after = jobs._submission("echo", {"depends_on": (first.id,)}, None)
                dependents.append((await enqueuer.submit(after)).id)
            return dependents
        finally:
            await client.aclose()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        dependents = asyncio.run(submit_all())
        eventually(lambda: all(jobs.status(one) == Status.FINISHED for one in dependents))
        fails.set()
        dependents = asyncio.run(submit_all())
        eventually(lambda: all(jobs.status(one) == Status.FAILED for one in dependents))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_one_that_is_sent_again_is_there_once(
    jobs: Jobs, connection: redis.Redis, redis_url: str, hand: ByHand
) -> None:
    root = jobs.submit("echo")
    submission = jobs._submission("echo", {"depends_on": (root, root)}, None)

    async def send(times: int) -> list[Any]:
        client = connect_async(redis_url)
        try:
            enqueue = client.register_script(f"{ENQUEUE}return {{enqueue(1, 1)}}")
            keys, args = enqueue_arguments(job_of(submission, job_id, client), submission)
            return [await enqueue(keys=keys, args=args) for _ in range(times)]
        finally:
            await client.aclose()

    job_id = new_job_id()
    assert asyncio.run(send(2)) == [[1, b"deferred"], [0, b"deferred"]]
    assert connection.smembers(f"rq:job::{job_id}:dependencies") == {root.encode()}
    assert hand.run_one() == root
    assert asyncio.run(send(1)) == [[0, b"queued"]]
    assert (hand.run_one(), hand.run_one()) == (job_id, None)


# Ended before


def test_a_dependent_comes_to_stand_as_its_dependencies_do(jobs: Jobs, hand: ByHand) -> None:
    finished, failed = jobs.submit("echo"), jobs.submit("fail_with", message="no")
    assert hand.run_one() == finished
    assert hand.fail_one() == failed
    assert jobs.status(jobs.submit("echo", depends_on=[finished])) == Status.QUEUED
    job = jobs[jobs.submit("echo", depends_on=[finished, failed])]
    assert (job.status, job.error.type) == (Status.FAILED, "DependencyFailed")
    tolerant = jobs.submit("echo", depends_on=[failed], on_dependency_failure="run")
    assert jobs.status(tolerant) == Status.QUEUED


def test_an_unknown_dependency_is_named_and_nothing_is_written(
    jobs: Jobs, connection: redis.Redis
) -> None:
    root = jobs.submit("echo")
    before = {key: connection.dump(key) for key in connection.scan_iter("rq:*")}
    with pytest.raises(DependencyUnknown, match="no job 'nobody'"):
        jobs.submit("echo", depends_on=[root, "nobody"])
    assert {key: connection.dump(key) for key in connection.scan_iter("rq:*")} == before


# Acting on them


def test_a_canceled_or_deleted_dependency_counts_as_failed(jobs: Jobs, hand: ByHand) -> None:
    canceled, deleted = jobs.submit("echo"), jobs.submit("echo")
    after_canceled = jobs.submit("echo", depends_on=[canceled])
    after_deleted = jobs.submit("echo", depends_on=[deleted])
    last = jobs.submit("echo", depends_on=[after_deleted])
    runs = jobs.submit("echo", depends_on=[deleted, canceled], on_dependency_failure="run")
    jobs.broker.actions.cancel(canceled)
    jobs.broker.actions.delete(deleted)
    assert jobs[after_canceled].error.message.endswith("was canceled")
    assert jobs[after_deleted].error.message.endswith("no longer exists")
    assert jobs[last].error.type == "DependencyFailed"
    assert jobs.status(runs) == Status.QUEUED
    assert hand.run_one() == runs


def test_a_running_one_that_is_canceled_fails_its_dependents(jobs: Jobs, hand: ByHand) -> None:
    root = jobs.submit("echo")
    after = jobs.submit("echo", depends_on=[root])
    assert hand.run_one(b"", Kind.CANCELED) == root
    assert (jobs.status(root), jobs.status(after)) == (Status.CANCELED, Status.FAILED)


def test_one_that_crashes_too_often_fails_its_dependents(
    jobs: Jobs, start_all_tasks: Start, tmp_path: Path
) -> None:
    root = jobs.submit("kill_own_process", times=9, path=str(tmp_path / "runs"))
    after = jobs.submit("echo", depends_on=[root])
    start_all_tasks()
    assert jobs.ended(after).error.type == "DependencyFailed"
    assert jobs[root].error.type == "WorkerLost"


def test_a_waiting_job_can_be_canceled_and_deleted(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    root = jobs.submit("echo")
    first, second = (jobs.submit("echo", depends_on=[root]) for _ in range(2))
    after = jobs.submit("echo", depends_on=[first])
    assert jobs.broker.actions.cancel(first)
    assert (jobs.status(first), jobs.status(after)) == (Status.CANCELED, Status.FAILED)
    with pytest.raises(StatusConflict):
        jobs.broker.actions.cancel(first)
    jobs.broker.actions.delete(second)
    assert (hand.run_one(), hand.run_one()) == (root, None)
    assert jobs.status(first) == Status.CANCELED
    assert nothing_left(connection)
    assert not connection.exists(f"rq:job:{root}:dependents")


def test_a_failed_dependent_is_retried_after_what_it_depends_on(jobs: Jobs, hand: ByHand) -> None:
    root = jobs.submit("echo")
    after = jobs.submit("echo", depends_on=[root])
    last = jobs.submit("echo", depends_on=[after])
    assert hand.fail_one() == root
    with pytest.raises(StatusConflict, match=root):
        jobs.broker.actions.retry(after)
    assert jobs.broker.bulk_actions.retry(JobFilter()).ids == [root, after, last]
    assert jobs.status(after) == jobs.status(last) == Status.WAITING
    assert [hand.run_one() for _ in range(4)] == [root, after, last, None]
    assert jobs.status(last) == Status.FINISHED


def test_a_dependency_that_has_expired_since_does_not_stand_in_the_way_of_a_retry(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    root = jobs.submit("echo")
    after = jobs.submit("echo", depends_on=[root])
    assert (hand.run_one(), hand.fail_one()) == (root, after)
    connection.delete(f"rq:job:{root}")
    jobs.broker.actions.retry(after)
    assert hand.run_one() == after


# With other programs


def test_stock_workers_free_ours(jobs: Jobs, redis_url: str) -> None:
    first = jobs.submit("double", n=1)
    second = jobs.submit("echo", value="x", depends_on=[first])
    third = jobs.submit("echo", depends_on=[first, second])
    takes = jobs.submit("double", depends_on=[first], result_as="n")
    stock_worker(redis_url)
    assert [jobs.status(one) for one in (first, second, third)] == [Status.FINISHED] * 3
    # A stock worker knows nothing of results to hand on
    assert jobs[takes].error.type.endswith("ParametersRefused")
    assert "n\n  Field required" in jobs[takes].error.message


def test_ours_free_those_of_stock_enqueuers_by_rqs_rules(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    queue = Queue("default", connection=connection, serializer="json")
    echo = "tests.sample_tasks.echo"
    root = queue.enqueue(echo)
    after = queue.enqueue(echo, depends_on=root)
    tolerant = queue.enqueue(echo, depends_on=Dependency([root], allow_failure=True))
    assert hand.fail_one() == root.id
    assert (after.get_status(), tolerant.get_status()) == ("deferred", "queued")
    assert hand.run_one() == tolerant.id
    root.requeue()
    assert [hand.run_one() for _ in range(3)] == [root.id, after.id, None]


def test_what_stock_workers_and_tools_leave_waiting_is_seen_to(
    jobs: Jobs, connection: redis.Redis, redis_url: str
) -> None:
    failed, deleted = jobs.submit("fail_with", message="no"), jobs.submit("echo", queue="other")
    after_failed = jobs.submit("echo", depends_on=[failed])
    after_deleted = jobs.submit("echo", depends_on=[deleted])
    last = jobs.submit("echo", depends_on=[after_deleted])
    stock_worker(redis_url)
    Job.fetch(deleted, connection=connection, serializer="json").delete()
    assert jobs.status(after_failed) == jobs.status(last) == Status.WAITING
    Dependents(connection, [Queue("default", connection=connection)]).look()
    for job_id in (after_failed, after_deleted, last):
        assert jobs[job_id].error.type == "DependencyFailed"


def test_more_dependents_than_one_script_looks_at_are_all_freed(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    number = 2 * MOST_AT_ONCE + 200
    root = jobs.submit("echo")
    jobs.submit_many("echo", [{"depends_on": (root,)} for _ in range(number)])
    assert hand.run_one() == root
    assert connection.llen("rq:queue:default") == MOST_AT_ONCE
    Dependents(connection, [Queue("default", connection=connection)]).look()
    assert connection.llen("rq:queue:default") == number
    assert not connection.exists(LEFT, f"rq:job:{root}:dependents", "rq:deferred:default")


def test_dependents_of_one_that_is_soon_gone_know_that_it_finished(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    number = 2 * MOST_AT_ONCE
    root, other = jobs.submit("echo"), jobs.submit("echo", queue="other")
    jobs.submit_many("echo", [{"depends_on": (root, other)} for _ in range(number)])
    assert hand.run_one() == root
    for _ in range(3):  # the rest of them, at once
        Dependents(connection, []).look()
    assert not connection.exists(LEFT, f"rq:job:{root}:dependents")
    connection.delete(f"rq:job:{root}")  # expired
    for _ in range(10):
        Dependents(connection, [Queue("default", connection=connection)]).look()
    assert connection.zcard("rq:deferred:default") == number


def test_a_broken_record_among_those_that_wait_keeps_no_other_waiting(
    jobs: Jobs, start_worker: Start, connection: redis.Redis
) -> None:
    connection.hset("rq:job:broken", "status", "deferred")  # and nothing else
    connection.zadd("rq:deferred:default", {"broken": 0})
    start_worker()
    first = jobs.submit("echo")
    after = jobs.submit("echo", depends_on=[first])
    assert jobs.ended(after).status == Status.FINISHED


def test_however_many_wait_all_are_looked_at_in_turn(
    jobs: Jobs, connection: redis.Redis, hand: ByHand
) -> None:
    root, other = jobs.submit("echo"), jobs.submit("echo", queue="other")
    jobs.submit_many("echo", [{"depends_on": (other,)} for _ in range(1000)])
    after = jobs.submit("echo", depends_on=[root])
    connection.delete(f"rq:job:{root}:dependents")  # as if somebody had lost it
    assert hand.run_one() == root
    assert jobs.status(after) == Status.WAITING
    dependents = Dependents(connection, [Queue("default", connection=connection)])
    for _ in range(20):
        dependents.look()
    assert jobs.status(after) == Status.QUEUED


def test_an_end_that_is_told_again_frees_its_dependents_once(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    root = jobs.submit("echo")
    after = jobs.submit("echo", depends_on=[root])
    call = hand.settler.call(hand.ended(hand.claim(), b"1", Kind.RETURNED))
    assert (call.run(), call.run()) == (1, 0)
    assert connection.lrange("rq:queue:default", 0, -1) == [after.encode()]


def test_a_webhook_is_told_of_a_job_that_fails_for_its_dependency(
    jobs: Jobs, hand: ByHand, connection: redis.Redis
) -> None:
    root = jobs.submit("echo")
    after = jobs.submit("echo", depends_on=[root], webhook="https://example.com/")
    assert hand.fail_one() == root
    delivery = Job.fetch(f"{after}-webhook-1", connection=connection, serializer="json")
    assert '"type":"DependencyFailed"' in delivery.kwargs["event"]
    assert root in delivery.kwargs["event"]


# Over HTTP


@pytest.fixture
def all_tasks_api(settings: Settings, all_tasks: Catalogue) -> Iterator[TestClient]:
    with TestClient(create_app(settings, all_tasks), base_url="http://127.0.0.1") as client:
        yield client


def test_a_chain_is_submitted_over_http(
    all_tasks_api: TestClient, start_all_tasks: Start, jobs: Jobs
) -> None:
    api = all_tasks_api
    first = api.post("/tasks/double", json={"n": 4}).json()
    answer = api.post(
        "/tasks/double", params={"depends_on": f"{first['id']}, {first['id']}", "result_as": "n"}
    )
    waiting = answer.json()
    assert (answer.status_code, waiting["status"]) == (202, "waiting")
    assert (waiting["waiting_for"], waiting["depends_on"]) == ("dependencies", [first["id"]])
    assert api.get(f"/jobs/{waiting['id']}").json() == waiting
    assert [job["id"] for job in api.get("/jobs?status=waiting").json()["jobs"]] == [waiting["id"]]
    start_all_tasks()
    assert api.get(f"/jobs/{waiting['id']}?wait=30").json()["result"] == 16


def test_results_are_gathered_over_http(
    all_tasks_api: TestClient, start_all_tasks: Start, jobs: Jobs
) -> None:
    api = all_tasks_api
    many = [api.post("/tasks/double", json={"n": n}).json()["id"] for n in (3, 1, 2)]
    answer = api.post(
        "/tasks/echo", params={"depends_on": ",".join(many), "results_as": "value"}, json={}
    )
    assert (answer.status_code, answer.json()["depends_on"]) == (202, many)
    start_all_tasks()
    assert api.get(f"/jobs/{answer.json()['id']}?wait=30").json()["result"] == [6, 2, 4]


def test_what_is_submitted_after_a_failure_is_accepted_and_told_as_failed(
    all_tasks_api: TestClient, hand: ByHand
) -> None:
    api = all_tasks_api
    root = api.post("/tasks/fail_with", data={"message": "x"}).json()["id"]
    assert hand.fail_one() == root
    answer = api.post("/tasks/echo", params={"depends_on": root})
    job = answer.json()
    assert (answer.status_code, job["status"]) == (202, "failed")
    assert job["error"]["type"] == "DependencyFailed" and root in job["error"]["message"]
    refused = api.post(f"/jobs/{job['id']}/retry")
    assert (refused.status_code, refused.json()["depends_on"]) == (409, root)
    assert api.post(f"/jobs/{root}/retry").status_code == 202
    assert api.post(f"/jobs/{job['id']}/retry").json()["status"] == "waiting"


def test_limits_are_shown(all_tasks_api: TestClient) -> None:
    api = all_tasks_api
    task = api.get("/tasks/one_a_tenant").json()
    assert (task["concurrency"], task["concurrency_key"]) == (1, "tenant")
    body = {"folder": "", "tenant": "a"}
    first, second = (api.post("/tasks/one_a_tenant", json=body).json() for _ in range(2))
    assert (first["status"], first["waiting_for"]) == ("queued", None)
    assert (second["status"], second["waiting_for"]) == ("waiting", "concurrency")
