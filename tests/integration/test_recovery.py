"""Whatever is killed, and whenever: the job is run."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from rq import Queue
from rq.registry import StartedJobRegistry

from jobs.catalogue import Catalogue
from service.broker.connection import connect
from service.broker.records import JobRecord
from service.broker.status import Status
from service.execution.claim import Claimer
from service.execution.recovery import Recovery, released
from tests.conftest import ROOT, RedisServer, Start, eventually
from tests.integration.conftest import ALL_TASKS, Jobs
from tests.integration.test_worker import children, is_gone, lines

AT_ONCE = 8  # workers that are on their way to the point at which they die
LEASE_BOUND = 40.0  # seconds; a lease of 10, a heartbeat of 3, and a slow machine


def horse_of(worker: "subprocess.Popen[str]", pids: Path) -> int:
    """The process that runs the job, once it has noted itself."""
    pid = int(eventually(lambda: lines(pids))[0])
    assert pid in children(worker.pid)
    return pid


def test_a_job_whose_horse_is_killed_runs_again_at_once(
    jobs: Jobs, connection: redis.Redis, start_all_tasks: Start, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    job_id = jobs.submit("append_pid", path=str(pids), seconds=50)
    worker = start_all_tasks()
    os.kill(horse_of(worker, pids), signal.SIGKILL)
    job = jobs.ended(job_id)
    assert (job.status, job.result, job.attempts) == (Status.FINISHED, 2, 2)
    assert worker.poll() is None


def test_the_job_of_a_killed_worker_is_run_by_another_and_its_horse_is_gone(
    jobs: Jobs, start_all_tasks: Start, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    job_id = jobs.submit("append_pid", path=str(pids), seconds=50)
    worker = start_all_tasks()
    horse = horse_of(worker, pids)
    start_all_tasks()
    worker.kill()
    worker.wait()
    eventually(lambda: is_gone(horse))
    job = jobs.ended(job_id, LEASE_BOUND)
    assert (job.status, job.result, job.attempts) == (Status.FINISHED, 2, 2)


def test_a_job_that_kills_its_process_three_times_is_poison_until_it_is_retried(
    jobs: Jobs, connection: redis.Redis, start_worker: Start, tmp_path: Path
) -> None:
    job_id = jobs.submit("kill_own_process", times=3, path=str(tmp_path / "runs"))
    healthy = jobs.submit("echo", value=1)
    start_worker()
    job = jobs.ended(job_id)
    assert (job.status, job.attempts) == (Status.FAILED, 3)
    assert job.error.type == "WorkerLost"
    assert "as often as its task allows" in job.error.message
    assert jobs.ended(healthy).result == 1

    jobs.broker.actions.retry(job_id)
    assert jobs.ended(job_id).result == "run 4"
    assert connection.zcard("rq:failed:default") == 0


def test_a_job_that_leaves_quietly_does_not_come_back_for_ever(
    jobs: Jobs, start_all_tasks: Start, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    job_id = jobs.submit("exit_quietly", path=str(runs))
    start_all_tasks()
    job = jobs.ended(job_id)
    assert (job.error.type, runs.read_text()) == ("WorkerLost", "xxx")


def test_however_many_look_one_brings_an_abandoned_job_back(
    jobs: Jobs, connection: redis.Redis, redis_url: str
) -> None:
    ids = jobs.submit_many("echo", [{"value": number} for number in range(20)])
    queue = Queue("default", connection=connection, serializer="json")
    claimer = Claimer(connection, "dead", lease=10)
    while claimer.claim([queue]):
        pass
    assert StartedJobRegistry(queue=queue).get_job_count(cleanup=False) == 20
    assert Recovery(connection).recover([queue]) == ([], [])  # its lease has not run out yet
    assert 0 < connection.ttl("rq:worker:dead") <= 10  # but it will
    connection.delete("rq:worker:dead")

    together = threading.Barrier(8)
    brought: list[str] = []

    def look() -> None:
        with connect(redis_url) as client:
            own = Queue("default", connection=client, serializer="json")
            together.wait()
            brought.extend(Recovery(client).recover([own])[0])

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(brought) == sorted(ids)
    assert sorted(queue.job_ids) == sorted(ids)
    assert StartedJobRegistry(queue=queue).get_job_count(cleanup=False) == 0


def test_an_end_that_is_told_late_does_not_touch_the_jobs_next_execution(
    jobs: Jobs, connection: redis.Redis
) -> None:
    job_id = jobs.submit("echo")
    queue = Queue("default", connection=connection, serializer="json")
    first = Claimer(connection, "slow", lease=10).claim([queue])
    connection.delete("rq:worker:slow")
    recovery = Recovery(connection)
    assert recovery.recover([queue]) == ([job_id], [])
    assert Claimer(connection, "next", lease=10).claim([queue]).job_id == job_id
    assert released(recovery.release(queue, job_id, first.execution_id, "{}").run()) == ([], [])
    assert jobs.status(job_id) == Status.RUNNING
    assert queue.job_ids == []


# Redis


def test_jobs_and_workers_outlive_a_redis_that_is_killed(
    own: RedisServer, all_tasks: Catalogue, start: Start, tmp_path: Path
) -> None:
    jobs = Jobs(own.url, all_tasks)
    path = tmp_path / "lines"
    environment = {"PADDOCK_REDIS_URL": own.url}
    workers = [start(sys.executable, "worker.py", **environment) for _ in range(2)]
    idle = start(sys.executable, "worker.py", "--queues", "mail", **environment)
    eventually(lambda: own.client.scard("rq:workers") == 3)
    many = [{"path": str(path), "line": str(number), "seconds": 0.3} for number in range(12)]
    later = jobs.submit("echo", value="later", delay=2)
    mail = jobs.submit("echo", value="mail", queue="mail", delay=2)
    ids = []
    for half in (many[:6], many[6:]):  # so that there is something to run each time
        ids += jobs.submit_many("append_line", half)
        eventually(lambda half=half: any(each["line"] in lines(path) for each in half))
        own.kill()
        time.sleep(1.5)  # away for a while: longer than a horse takes to give up
        own.start()
    for job_id in [*ids, later, mail]:
        job = jobs.ended(job_id, 60)
        assert job.status == Status.FINISHED, job
    assert set(lines(path)) == {str(number) for number in range(12)}
    assert [worker.poll() for worker in (*workers, idle)] == [None] * 3
    jobs.close()


def test_a_job_is_not_taken_from_a_worker_that_only_lost_redis(
    own: RedisServer, all_tasks: Catalogue, start: Start, tmp_path: Path
) -> None:
    jobs = Jobs(own.url, all_tasks)
    path = tmp_path / "lines"
    environment = {"PADDOCK_REDIS_URL": own.url}
    long, short = (
        jobs.submit("append_line", path=str(path), line=line, seconds=seconds)
        for line, seconds in (("long", 17), ("short", 13.8))
    )
    for _ in range(2):
        start(sys.executable, "worker.py", **environment)
    eventually(lambda: set(lines(path)) == {"long", "short"})
    own.kill()
    # Longer than a lease, so that no worker seems to live when Redis is back; and the short job
    # ends before the worker of the long one is due to show that it does.
    time.sleep(12.4)
    own.start()
    assert jobs.ended(short).attempts == 1
    assert jobs.ended(long, 40).attempts == 1
    assert len(lines(path)) == 2
    jobs.close()


# Killed at every step


@dataclass(frozen=True)
class Point:
    """A moment at which a worker or a horse dies, and the job that it has then."""

    method: str
    when: str
    number: str = "SIGKILL"
    victim: str = "self"
    task: str = "succeed_at"

    @property
    def name(self) -> str:
        return "-".join([self.method, self.when, self.number, self.victim, self.task])


IN_THE_WORKER = [
    ("Worker.register_birth", "after", "succeed_at"),
    ("Housekeeper.keep", "before", "succeed_at"),
    ("Recovery.recover", "after", "succeed_at"),
    ("Claimer.call", "after", "succeed_at"),
    ("Claimer.answered", "before", "succeed_at"),
    ("Claimer.answered", "after", "succeed_at"),
    ("Worker._take", "after", "succeed_at"),
    ("Worker.execute_job", "before", "succeed_at"),
    ("Stable.give", "after", "succeed_at"),
    ("Watch.until_ended", "before", "succeed_at"),
    ("Watch.until_ended", "after", "succeed_at"),
    ("Stable.take_back", "after", "succeed_at"),
    ("Settler.call", "before", "succeed_at"),
    ("Settler.settled", "before", "succeed_at"),
    ("Settler.settled", "after", "succeed_at"),
    ("Watch.until_ended", "after", "succeed_later"),
    ("Settler.settled", "after", "succeed_later"),
]
IN_THE_HORSE = [
    ("Worker._run_horse", "before", "succeed_at"),
    ("Channel.receive", "before", "succeed_at"),
    ("Channel.receive", "after", "succeed_at"),
    ("Task.run", "before", "succeed_at"),
    ("Task.run", "after", "succeed_at"),
    ("Task.run", "before", "succeed_later"),
]
IN_THE_IO_WORKER = [
    ("Claims.calls", "after", "SIGKILL"),
    ("Claims.answered", "before", "SIGKILL"),
    ("Claims.answered", "after", "SIGKILL"),
    ("Claims.answered", "after", "SIGTERM"),
    ("Together.begin", "before", "SIGKILL"),
    ("LoopHarness.begin", "after", "SIGKILL"),
    ("LoopHarness.begin", "after", "SIGTERM"),
    ("Taken.ended", "before", "SIGKILL"),
    ("Recorder._is_recorded", "before", "SIGKILL"),
    ("Recorder._is_recorded", "before", "SIGTERM"),
    ("Recorder._is_recorded", "after", "SIGKILL"),
]
IN_THE_LOOP_HORSE = [
    ("IOWorker._run_loop_horse", "before", "self"),
    ("LoopHorse._begin", "before", "self"),
    ("LoopHorse._begin", "after", "both"),
    ("Task.run_in_loop", "before", "self"),
    ("AsyncRun._finish", "before", "both"),
    ("AsyncRun._finish", "after", "self"),
]
POINTS = [
    *(
        Point(method, when, number, task=task)
        for method, when, task in IN_THE_WORKER
        for number in ("SIGKILL", "SIGTERM")
    ),
    *(
        Point(method, when, victim=victim, task=task)
        for method, when, task in IN_THE_HORSE
        for victim in ("self", "both")
    ),
    *(
        Point(method, when, number, task="succeed_in_loop")
        for method, when, number in IN_THE_IO_WORKER
    ),
    *(
        Point(method, when, victim=victim, task="succeed_in_loop")
        for method, when, victim in IN_THE_LOOP_HORSE
    ),
]


@pytest.fixture(scope="module")
def killed_at(
    server: RedisServer, all_tasks: Catalogue, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Point], JobRecord]]:
    """All points, each with a worker, a queue and a job of its own; then a healthy worker.

    One soon after the other, since a lease has to run out after most of them.
    """
    server.client.flushall()
    folder = tmp_path_factory.mktemp("points")
    jobs = Jobs(server.url, all_tasks)
    environment = {
        **os.environ,
        "PADDOCK_REDIS_URL": server.url,
        "PADDOCK_TASKS": ",".join(ALL_TASKS),
        "PADDOCK_DATA_DIR": str(folder),
    }
    ids = {}
    processes: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        processes.append(
            subprocess.Popen(
                [sys.executable, *command],
                env=environment,
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )

    try:
        for number, point in enumerate(POINTS):
            if number >= AT_ONCE:  # all of them together would starve the other tests
                eventually((folder / POINTS[number - AT_ONCE].name).exists, 60)
            attempt = 2 if point.task == "succeed_later" else 1
            path = str(folder / f"runs{number}")
            ids[point.name] = jobs.submit(
                point.task, attempt=attempt, path=path, queue=f"q{number}"
            )
            marker = str(folder / point.name)
            start(
                *["-m", "tests.integration.killed_worker", f"q{number}", marker],
                *[point.method, point.when, point.number, point.victim],
                *(["--io"] if point.task == "succeed_in_loop" else []),
            )
        for point in POINTS:
            eventually((folder / point.name).exists, 60)
        start("worker.py", "--queues", ",".join(f"q{number}" for number in range(len(POINTS))))
        yield lambda point: jobs.ended(ids[point.name], 60)
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        jobs.close()


@pytest.mark.xdist_group("points")
@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_no_job_is_lost_wherever_its_worker_or_horse_dies(
    killed_at: Callable[[Point], JobRecord], point: Point
) -> None:
    job = killed_at(point)
    assert job.status == Status.FINISHED, job
