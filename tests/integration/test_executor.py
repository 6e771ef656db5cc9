"""JobExecutor: the standard library's Executor and Future, over real jobs and workers."""

import asyncio
import concurrent.futures
import functools
import itertools
import os
import re
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, as_completed, wait
from pathlib import Path

import pytest
import redis

from service.adapters.door import Door
from service.adapters.errors import FutureDetached, JobFailed, NotInCatalogue
from service.adapters.executor import JobExecutor
from service.adapters.future import JobFuture
from service.adapters.jobs import BlockingJobs
from service.broker.intake import Options
from service.broker.status import Status
from service.errors import JobNotFound, ParametersInvalid, StatusConflict
from service.settings import Settings
from tests.conftest import PATIENCE, ROOT, RedisServer, Start, eventually
from tests.sample_executor_tasks import (
    Overweight,
    Parcel,
    divide,
    hold,
    multiply,
    post,
    rest,
    spell_out,
    try_again_later,
    weigh,
    wrap,
)

TASKS = "tests.sample_executor_tasks"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"tasks": (TASKS,)})


@pytest.fixture
def door(settings: Settings) -> Iterator[Door]:
    opened = Door(settings)
    yield opened
    opened.close()


@pytest.fixture
def executor(door: Door) -> Iterator[JobExecutor]:
    """Without workers; what is left at the end is canceled."""
    made = JobExecutor(door)
    yield made
    made.shutdown(wait=False, cancel_futures=True)


Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run(settings: Settings) -> Iterator[Run]:
    """Run a program that finds these settings; its output can be read."""
    started: list[subprocess.Popen[str]] = []

    def run_program(text: str, *arguments: object) -> "subprocess.Popen[str]":
        begin = f"from service.adapters.executor import *\nfrom {TASKS} import *\nimport os, sys\n"
        process = subprocess.Popen(
            [sys.executable, "-c", begin + text, *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | settings.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run_program
    for process in started:
        process.kill()
        process.communicate()


def elsewhere(settings: Settings, job_id: str) -> Status:
    """The job's status, as another program sees it."""
    other = Door(settings)
    try:
        return BlockingJobs(other).job(job_id).status()
    finally:
        other.close()


# Submitting


def test_a_call_is_a_job_and_its_result_comes_back(
    executor: JobExecutor, start_worker: Start
) -> None:
    future = executor.submit(multiply, 6, y=7)
    assert not future.done() and not future.running() and not future.cancelled()
    assert future.job_id in repr(future) and "pending" in repr(future)
    start_worker()
    assert future.result(PATIENCE) == 42
    assert future.exception() is None
    assert future.done() and not future.running() and not future.cancelled()
    assert future.job.status() is Status.FINISHED
    assert future.job.result() == 42


def test_a_job_is_kept_before_submit_returns(
    executor: JobExecutor, connection: redis.Redis
) -> None:
    future = executor.submit(multiply, 6, 7)
    assert connection.lrange("rq:queue:default", 0, -1) == [future.job_id.encode()]


def test_arguments_and_results_are_of_the_types_that_the_task_declares(
    executor: JobExecutor, start_worker: Start
) -> None:
    start_worker()
    assert executor.submit(weigh, Parcel(4)).result(PATIENCE) == 4
    assert executor.submit(wrap, 5).result(PATIENCE) == Parcel(5)
    assert executor.submit(divide, 7, 2).result(PATIENCE) == (3, 1)


def test_a_partial_and_the_plain_function_are_the_task(
    executor: JobExecutor, start_worker: Start
) -> None:
    start_worker()
    double = functools.partial(multiply, 2)
    assert executor.submit(double, 4).result(PATIENCE) == 8
    assert executor.submit(functools.partial(double, y=5)).result(PATIENCE) == 10
    assert executor.submit(functools.partial(divide, divisor=3), 7).result(PATIENCE) == (2, 1)
    assert executor.submit(multiply.function, 3, 4).result(PATIENCE) == 12


def plain(n: int) -> int:
    return n


def test_what_is_no_task_is_refused_with_the_line_to_add(executor: JobExecutor) -> None:
    with pytest.raises(NotInCatalogue, match=r"put `@job`.* above `def plain`.*PADDOCK_TASKS="):
        executor.submit(plain, 1)
    with pytest.raises(NotInCatalogue, match="workers import a task by its name"):
        executor.submit(lambda: 1)


def test_arguments_that_do_not_fit_are_refused(
    executor: JobExecutor, connection: redis.Redis
) -> None:
    with pytest.raises(TypeError, match="missing a required argument: 'y'"):
        executor.submit(multiply, 1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="too many positional arguments"):
        executor.submit(multiply, 1, 2, 3)  # type: ignore[call-arg]
    with pytest.raises(ParametersInvalid, match="multiply: x: "):
        executor.submit(multiply, "one", 2)  # type: ignore[arg-type]
    with pytest.raises(ParametersInvalid, match="multiply: y: "):
        executor.map(multiply, [1, 2], [3, "four"])
    assert not connection.exists("rq:queue:default")


def test_a_number_of_workers_is_refused_with_where_to_set_it() -> None:
    with pytest.raises(TypeError, match="PADDOCK_WORKERS"):
        JobExecutor(4)  # type: ignore[arg-type]


def test_options_are_those_of_every_job(door: Door, connection: redis.Redis) -> None:
    executor = JobExecutor(door, Options(queue="cpu", timeout=7))
    future = executor.submit(multiply, 1, 2)
    assert connection.hget(f"rq:job:{future.job_id}", "timeout") == b"7"
    assert connection.lrange("rq:queue:cpu", 0, -1) == [future.job_id.encode()]


# Waiting


def test_event_loops_wait_for_it(executor: JobExecutor, start_worker: Start) -> None:
    start_worker()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(executor, multiply, 6, 7) == 42
        assert await loop.run_in_executor(executor, functools.partial(multiply, x=2, y=3)) == 6
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(executor, divide, 1, 0)
        wrapped = [asyncio.wrap_future(executor.submit(multiply, n, n)) for n in range(20)]
        assert await asyncio.gather(*wrapped) == [n * n for n in range(20)]

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_canceling_in_an_event_loop_cancels_a_queued_job(executor: JobExecutor) -> None:
    future = executor.submit(multiply, 6, 7)

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(future), 0.05)

    asyncio.run(main())
    eventually(future.cancelled)
    assert future.job.status() is Status.CANCELED


def test_futures_are_completed_in_the_order_in_which_their_jobs_end(
    executor: JobExecutor, start_worker: Start, tmp_path: Path
) -> None:
    start_worker()
    start_worker()
    slow = executor.submit(hold, str(tmp_path / "slow"))
    quick = executor.submit(multiply, 6, 7)
    completed = as_completed([slow, quick], timeout=PATIENCE)
    assert next(completed) is quick
    assert wait([slow, quick], return_when="FIRST_COMPLETED") == ({quick}, {slow})
    (tmp_path / "go").touch()
    assert next(completed) is slow


def test_a_wait_may_be_for_some_time_only(executor: JobExecutor) -> None:
    future = executor.submit(multiply, 6, 7)
    with pytest.raises(TimeoutError):
        future.result(0.05)
    with pytest.raises(TimeoutError):
        future.exception(0.05)
    assert wait([future], timeout=0.05) == (set(), {future})


def test_a_future_runs_while_a_worker_has_its_job(
    executor: JobExecutor, door: Door, start_worker: Start, tmp_path: Path
) -> None:
    start_worker()
    future = executor.submit(hold, str(tmp_path / "held"))
    eventually(future.running)
    assert "running" in repr(future)
    assert JobExecutor(door).future(future.job_id).running()
    (tmp_path / "go").touch()
    assert future.result(PATIENCE) == "x"
    assert not future.running()


def test_a_job_that_waits_for_its_next_attempt_does_not_run(
    executor: JobExecutor, start_worker: Start
) -> None:
    start_worker()
    future = executor.submit(try_again_later)
    eventually(lambda: future.job.status() is Status.SCHEDULED)
    eventually(lambda: not future.running())
    assert not future.done()
    assert future.cancel()


# What went wrong


def test_a_jobs_own_exception_is_raised_with_where_it_was_raised(
    executor: JobExecutor, start_worker: Start
) -> None:
    start_worker()
    future = executor.submit(post, Parcel(11))
    with pytest.raises(Overweight, match="11 kg"):
        future.result(PATIENCE)
    error = future.exception()
    assert type(error) is Overweight
    shown = "".join(traceback.format_exception(error))
    assert 'raise Overweight(f"{parcel.weight} kg")' in shown  # the line in the worker
    assert "The above exception was the direct cause" in shown


def test_one_that_can_not_be_rebuilt_is_told_of(executor: JobExecutor, start_worker: Start) -> None:
    start_worker()
    with pytest.raises(JobFailed, match="nobody lives at 7 Elm Street") as raised:
        executor.submit(post, Parcel(7)).result(PATIENCE)
    assert raised.value.type == f"{TASKS}.Undeliverable"
    assert 'raise Undeliverable("Elm Street", parcel.weight)' in raised.value.traceback
    assert "raise Undeliverable" in "".join(traceback.format_exception(raised.value))


def test_a_future_whose_job_is_deleted_says_so(executor: JobExecutor, run: Run) -> None:
    future = executor.submit(multiply, 6, 7)
    deleted = run(
        "from service.broker.connection import *\n"
        "from service.broker.actions import JobActions\n"
        "from service.settings import Settings\n"
        "JobActions(connect(redis_url(Settings.load()))).delete(sys.argv[1])\n",
        future.job_id,
    )
    assert deleted.wait() == 0
    assert isinstance(future.exception(PATIENCE), JobNotFound)


def test_a_job_that_can_not_be_read_fails_its_own_future_only(
    executor: JobExecutor, connection: redis.Redis, start_worker: Start
) -> None:
    futures = [executor.submit(multiply, n, n) for n in range(3)]
    broken = {"retries_left": "many", "status": "finished"}
    ended = {"status": "canceled"}
    with connection.pipeline() as pipe:  # so that they are read together
        for future, fields in zip(futures, (ended, broken, ended)):
            pipe.hset(f"rq:job:{future.job_id}", mapping=fields)
        pipe.execute()
    with pytest.raises(ValueError, match="many"):
        futures[1].result(PATIENCE)
    wait(futures, PATIENCE)
    assert [future.cancelled() for future in futures] == [True, False, True]
    start_worker()
    assert executor.submit(multiply, 6, 7).result(PATIENCE) == 42


# Canceling


def test_a_queued_job_can_be_canceled(executor: JobExecutor, settings: Settings) -> None:
    future = executor.submit(multiply, 6, 7)
    told = list[Future[int]]()
    future.add_done_callback(told.append)
    assert future.cancel()
    assert future.cancelled() and future.done() and told == [future]
    assert elsewhere(settings, future.job_id) is Status.CANCELED
    with pytest.raises(CancelledError):
        future.result()
    assert wait([future]).done == {future}
    assert future.cancel()


def test_a_running_or_ended_job_can_not(
    executor: JobExecutor, start_worker: Start, tmp_path: Path
) -> None:
    start_worker()
    future = executor.submit(hold, str(tmp_path / "held"))
    eventually((tmp_path / "held").exists)
    assert not future.cancel()
    (tmp_path / "go").touch()
    assert future.result(PATIENCE) == "x"
    assert not future.cancel() and not future.cancelled()


def test_redis_decides_whether_it_can_be_canceled_not_what_was_last_seen(
    executor: JobExecutor, start_worker: Start, tmp_path: Path
) -> None:
    queued = executor.submit(multiply, 6, 7)
    queued.is_at_work = True
    assert queued.cancel()
    start_worker()
    running = executor.submit(hold, str(tmp_path / "held"))
    eventually((tmp_path / "held").exists)
    running.is_at_work = False
    assert not running.cancel()


def test_a_job_that_is_stopped_elsewhere_is_canceled_here(
    executor: JobExecutor, start_worker: Start, settings: Settings, tmp_path: Path
) -> None:
    start_worker()
    future = executor.submit(hold, str(tmp_path / "held"))
    eventually(future.running)
    other = Door(settings)
    assert not BlockingJobs(other).job(future.job_id).cancel()
    other.close()
    with pytest.raises(CancelledError):
        future.result(PATIENCE)
    assert future.cancelled()
    assert future.cancel()


def test_cancel_knows_of_what_was_canceled_elsewhere_a_moment_ago(executor: JobExecutor) -> None:
    future = executor.submit(multiply, 6, 7)
    assert future.job.cancel()
    assert future.cancel()
    with pytest.raises(StatusConflict):
        future.job.cancel()


# Mapping


def test_results_of_a_map_come_in_its_order(executor: JobExecutor, start_worker: Start) -> None:
    start_worker()
    start_worker()
    seconds = [0.3, 0, 0.1, 0]
    assert list(executor.map(rest, seconds)) == [None] * 4
    assert list(executor.map(divide, range(5, 9), itertools.repeat(2))) == [
        divmod(n, 2) for n in range(5, 9)
    ]
    assert list(executor.map(multiply, [], [])) == []


def test_all_of_a_map_is_submitted_before_its_first_result_is_taken(
    executor: JobExecutor, connection: redis.Redis
) -> None:
    executor.map(multiply, range(1_200), range(1_200))
    assert connection.llen("rq:queue:default") == 1_200


def test_many_large_arguments_are_submitted_in_parts(
    executor: JobExecutor, connection: redis.Redis
) -> None:
    executor.map(spell_out, ["x" * 200_000] * 100)
    assert connection.llen("rq:queue:default") == 100


def test_a_map_that_is_dropped_cancels_what_no_worker_has(
    executor: JobExecutor, start_worker: Start, connection: redis.Redis
) -> None:
    results = executor.map(rest, [0, 30, 0])
    start_worker()
    next(results)
    eventually(lambda: connection.zcard("rq:wip:default") == 1)  # the second, which is taken
    del results
    eventually(lambda: connection.zcard("rq:canceled:default") == 1)


def test_results_can_be_taken_after_the_executor_was_shut_down(
    door: Door, start_worker: Start
) -> None:
    start_worker()
    with JobExecutor(door) as executor:
        results = executor.map(multiply, range(5), range(5), chunksize=2)
    assert list(results) == [0, 1, 4, 9, 16]


def test_an_exception_in_a_map_comes_in_its_place_and_ends_it(
    executor: JobExecutor, start_worker: Start, connection: redis.Redis
) -> None:
    results = executor.map(divide, [8, 6, 4, 2], [2, 0, 2, 1])
    start_worker(PADDOCK_WORKER_MAX_JOBS="2")
    assert next(results) == (4, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []
    eventually(lambda: connection.zcard("rq:canceled:default") == 2)  # what nobody took


def test_a_map_ends_when_its_time_is_over(
    executor: JobExecutor, start_worker: Start, connection: redis.Redis
) -> None:
    start_worker()
    results = executor.map(rest, [0, 30, 0, 0], timeout=5)
    assert next(results) is None
    with pytest.raises(TimeoutError):
        next(results)
    assert list(results) == []
    eventually(lambda: connection.zcard("rq:canceled:default") == 2)  # not the one that runs


def test_a_map_with_a_buffer_submits_only_so_far_ahead(
    executor: JobExecutor, start_worker: Start, connection: redis.Redis
) -> None:
    numbers = itertools.count()
    results = executor.map(multiply, numbers, itertools.repeat(2), buffersize=3)
    assert connection.llen("rq:queue:default") == 3
    start_worker()
    assert [next(results) for _ in range(10)] == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert next(numbers) == 13
    for wrong in ({"buffersize": 0}, {"chunksize": 0}):
        with pytest.raises(ValueError):
            executor.map(multiply, [1], [2], **wrong)


# Callbacks


def test_callbacks_may_submit_and_fail_without_harm(
    executor: JobExecutor, start_worker: Start, caplog: pytest.LogCaptureFixture
) -> None:
    start_worker()
    second: Future[JobFuture[int]] = Future()

    def fails(future: Future[int]) -> None:
        raise SystemExit("of its own")

    def goes_on(future: Future[int]) -> None:
        second.set_result(executor.submit(multiply, future.result(), 2))

    executor.submit(multiply, 3, 4).add_done_callback(fails)
    executor.submit(multiply, 6, 7).add_done_callback(goes_on)
    assert second.result(PATIENCE).result(PATIENCE) == 84
    assert "SystemExit: of its own" in caplog.text


# Finding again


def test_a_job_is_found_again_by_its_id(
    executor: JobExecutor, start_worker: Start, door: Door
) -> None:
    first = executor.submit(wrap, 3)
    assert executor.future(first.job_id) is first  # it is told already
    another = JobExecutor(door)
    again = another.future(first.job_id)
    assert not again.done() and another.future(first.job_id) is again
    start_worker()
    assert again.result(PATIENCE) == Parcel(3)
    ended = JobExecutor(door).future(first.job_id)
    assert ended.done() and ended.result() == Parcel(3)
    failed = executor.submit(divide, 1, 0)
    assert failed.exception(PATIENCE)
    with pytest.raises(ZeroDivisionError):
        executor.future(failed.job_id).result(0)
    with pytest.raises(JobNotFound):
        executor.future("nobody")


def test_a_job_outlives_the_process_that_submitted_it(
    run: Run, executor: JobExecutor, start_worker: Start, tmp_path: Path
) -> None:
    program = run(
        "executor = JobExecutor()\n"
        "futures = [executor.submit(hold, sys.argv[1], mark) for mark in 'ab']\n"
        "print(*(future.job_id for future in futures), flush=True)\n"
        "futures[1].result()\n",
        tmp_path / "held",
    )
    start_worker()
    assert program.stdout is not None
    job_ids = program.stdout.readline().split()
    eventually((tmp_path / "held").exists)
    program.kill()
    program.wait()
    futures = [executor.future(job_id) for job_id in job_ids]
    assert not any(future.done() for future in futures)
    (tmp_path / "go").touch()
    assert [future.result(PATIENCE) for future in futures] == ["a", "b"]
    assert (tmp_path / "held").read_text() == "ab"


# Shutting down


def test_shutdown_waits_for_what_was_submitted_and_takes_no_more(
    door: Door, start_worker: Start, tmp_path: Path
) -> None:
    start_worker()
    executor = JobExecutor(door)
    future = executor.submit(hold, str(tmp_path / "held"))
    is_down = threading.Event()
    thread = threading.Thread(target=lambda: (executor.shutdown(), is_down.set()))
    thread.start()
    assert not is_down.wait(0.3)
    eventually(lambda: is_shut(executor))
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.map(multiply, [6], [7])
    (tmp_path / "go").touch()
    assert is_down.wait(PATIENCE)
    assert future.done()
    thread.join()


def is_shut(executor: JobExecutor) -> bool:
    """Whether it takes no more."""
    try:
        executor.submit(multiply, 6, 7)
    except RuntimeError as error:
        assert str(error) == "cannot schedule new futures after shutdown"
        return True
    return False


def test_leaving_the_block_waits_for_ones_own_but_not_for_what_was_found(
    door: Door, start_worker: Start, executor: JobExecutor, tmp_path: Path
) -> None:
    start_worker()
    start_worker()
    others = executor.submit(hold, str(tmp_path / "held"))
    with JobExecutor(door) as own:
        found = own.future(others.job_id)
        future = own.submit(multiply, 6, 7)
    assert future.done()
    assert not found.done()
    own.shutdown(cancel_futures=True)
    assert not found.cancelled()
    (tmp_path / "go").touch()
    assert found.result(PATIENCE) == "x"  # it goes on being told


def test_shutdown_can_cancel_what_no_worker_has(
    door: Door, start_worker: Start, tmp_path: Path
) -> None:
    start_worker()
    executor = JobExecutor(door)
    futures = [executor.submit(hold, str(tmp_path / f"held-{n}")) for n in range(20)]
    eventually((tmp_path / "held-0").exists)
    executor.shutdown(wait=False, cancel_futures=True)
    assert [future.cancelled() for future in futures] == [False] + [True] * 19
    (tmp_path / "go").touch()
    executor.shutdown()
    assert futures[0].result(0) == "x"


def test_a_program_may_end_before_its_jobs(
    run: Run, executor: JobExecutor, start_worker: Start
) -> None:
    program = run(
        "executor = JobExecutor()\n"
        "future = executor.submit(multiply, 6, 7)\n"
        "future.add_done_callback(lambda _: print('told'))\n"
        "results = executor.map(multiply, range(3), range(3))\n"
        "started = iter(results)\n"
        "print(future.job_id)\n"
    )
    out, err = program.communicate(timeout=PATIENCE)
    assert (program.returncode, err) == (0, "")
    start_worker()
    assert executor.future(out.strip()).result(PATIENCE) == 42


def test_a_thread_gets_its_result_after_the_main_thread_is_done(
    run: Run, start_worker: Start
) -> None:
    program = run(
        "import threading, time\n"
        "executor = JobExecutor()\n"
        "future = executor.submit(rest, 1.0)\n"
        "def last():\n"
        "    threading.main_thread().join()\n"
        "    print(future.result(), flush=True)\n"
        "    executor.submit(rest, 0.0)\n"
        "threading.Thread(target=last).start()\n"
    )
    start_worker()
    out, err = program.communicate(timeout=PATIENCE)
    assert (program.returncode, out) == (0, "None\n")
    assert "RuntimeError: cannot schedule new futures after interpreter shutdown" in err


def test_a_door_that_is_closed_tells_those_who_wait(
    door: Door, executor: JobExecutor, start_worker: Start
) -> None:
    future = executor.submit(multiply, 6, 7)
    waiting = threading.Thread(target=lambda: wait([future]))
    waiting.start()
    door.close()
    waiting.join(PATIENCE)
    with pytest.raises(FutureDetached, match=f"executor.future\\('{future.job_id}'\\)"):
        future.result(0)
    start_worker()
    assert executor.future(future.job_id).result(PATIENCE) == 42


# Moving

DOCS = (ROOT / "docs/from-process-pool.md").read_text()
BEFORE, TASK, AFTER, ASYNC = re.findall(r"^```python\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)
ASK = """
sys.path.insert(0, sys.argv[1])
os.environ["PADDOCK_TASKS"] = "crunch"
import time
from starlette.testclient import TestClient
from app import app
with TestClient(app) as client:
    assert client.get("/sums/nobody").status_code == 404
    path = "/sums/" + client.post("/sums", params={"n": 10}).json()["id"]
    while (found := client.get(path).json())["status"] in ("waiting", "running"):
        time.sleep(0.05)
    print(found["status"], found["sum"])
"""


@pytest.mark.parametrize(
    ("app", "ask"),
    [
        (BEFORE, ASK),
        (AFTER, ASK),
        (
            ASYNC,
            "sys.path.insert(0, sys.argv[1])\n"
            "os.environ['PADDOCK_TASKS'] = 'crunch'\n"
            "import asyncio, app\n"
            "print('done', asyncio.run(app.sum_up(10)))\n",
        ),
    ],
    ids=["before", "after", "async"],
)
def test_the_code_of_the_docs_runs(
    app: str, ask: str, run: Run, start_worker: Start, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(app)
    (tmp_path / "crunch.py").write_text(TASK)
    start_worker(PADDOCK_TASKS="crunch", PYTHONPATH=str(tmp_path))
    out, err = run(ask, tmp_path).communicate(timeout=PATIENCE)
    assert out == "done 285\n", err


# Processes and threads


def test_a_forked_process_uses_it_anew_and_leaves_the_parents_futures(
    run: Run, start_worker: Start, tmp_path: Path
) -> None:
    program = run(
        "import threading\n"
        "from service.adapters.errors import FutureDetached\n"
        "executor, is_told = JobExecutor(), threading.Event()\n"
        "def tell(_):\n"
        "    print('told in', os.getpid() == parent, flush=True)\n"
        "    is_told.set()\n"
        "assert executor.submit(multiply, 1, 2).result() == 2\n"
        "future = executor.submit(hold, sys.argv[1])\n"
        "future.add_done_callback(tell)\n"
        "parent = os.getpid()\n"
        "if os.fork():\n"
        "    assert future.result() == 'x' and is_told.wait()\n"
        "    print('child', os.waitstatus_to_exitcode(os.wait()[1]), flush=True)\n"
        "else:\n"
        "    assert isinstance(future.exception(0), FutureDetached)\n"
        "    open(sys.argv[2], 'w').close()\n"
        "    assert executor.future(future.job_id).result() == 'x'\n"
        "    with executor:\n"
        "        assert executor.submit(multiply, 6, 7).result() == 42\n",
        *(tmp_path / "held", tmp_path / "go"),
    )
    start_worker()
    out, err = program.communicate(timeout=PATIENCE)
    assert (program.returncode, out) == (0, "told in True\nchild 0\n")
    assert "Traceback" not in err  # that forking with threads is risky, Python says from 3.12 on


def test_threads_and_executors_share_a_door(door: Door, start_worker: Start) -> None:
    start_worker()
    executors = [JobExecutor(door), JobExecutor(door)]
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        futures = list(threads.map(lambda n: executors[n % 2].submit(multiply, n, n), range(100)))
    executors[0].shutdown(wait=False)
    assert len({future.job_id for future in futures}) == 100
    assert [future.result(PATIENCE) for future in futures] == [n * n for n in range(100)]
    assert executors[1].submit(multiply, 6, 7).result(PATIENCE) == 42


def test_two_thousand_futures_need_no_threads_or_connections_of_their_own(
    door: Door, start_worker: Start, connection: redis.Redis
) -> None:
    before = connection.info("clients")["connected_clients"]
    threads = threading.active_count()
    with JobExecutor(door) as executor:
        futures = [executor.submit(multiply, 1, 1), *_submit_many(executor, 2_000)]
        time.sleep(1)  # for all to be looked at a few times
        assert connection.info("clients")["connected_clients"] - before < 20
        assert threading.active_count() - threads < 10
        for _ in range(2):
            start_worker()
        done, not_done = wait(futures, timeout=100)
    assert not not_done and len(done) == 2_001
    assert [future.result() for future in futures[1:]] == list(range(2_000))


def _submit_many(executor: JobExecutor, count: int) -> list[JobFuture[int]]:
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        return list(threads.map(lambda n: executor.submit(multiply, n, 1), range(count)))


def test_futures_wait_on_while_redis_is_restarted(
    own: RedisServer, start: Start, settings: Settings, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"redis_url": own.url})
    door = Door(Settings(redis_url=own.url, tasks=(TASKS,)))
    start(sys.executable, "worker.py", PADDOCK_REDIS_URL=own.url)
    try:
        with JobExecutor(door) as executor:
            running = executor.submit(hold, str(tmp_path / "held"))
            queued = [executor.submit(multiply, n, n) for n in range(50)]
            eventually(running.running)
            own.kill()
            time.sleep(2)
            assert not any(future.done() for future in [running, *queued])
            with pytest.raises(redis.RedisError):
                queued[-1].cancel()
            own.start()
            (tmp_path / "go").touch()
            assert running.result(100) == "x"
            assert [future.result(100) for future in queued] == [n * n for n in range(50)]
    finally:
        door.close()
